"""What another process does with a store, for tests: ``two_writers.py STORE MODE``."""

import os
import sys

from llmrec.adapters.materialise import PlainLora
from llmrec.adapters.store import AdapterStore


def make_everything(store):
    for number in range(24):
        adapter = store.adapter(f"u{number}", lease=0.0)
        print(adapter.name, adapter.number)
    for number in range(10):
        gate = store.gate(f"u{number}").gate
        store.put([f"u{number}"], gate[None], "other process")


def die_while_writing(store):
    def die(self, folder):
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        os._exit(9)

    PlainLora.write = die
    store.adapter("u0")


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()  # all start together
    opened = AdapterStore(sys.argv[1])
    {"make": make_everything, "die": die_while_writing}[sys.argv[2]](opened)
