"""Time a vLLM server over an adapter store on this processor, beside our own fused path.

Usage, in the environment of ``make install-vllm``:
``.venv-vllm/bin/python eval/benchmarks/vllm_adapter_store.py [--users N] [--slots N] [--layers N]
[--folder F]``.

Users ask once each for the token after a prompt of 128 tokens, 16 at a time, through
``llmrec adapters serve`` with 8 slots: first when no adapter is on disk (``cold``), then again with
new prompts (``warm``). Ours is the same question through gated LoRA in this process, in batches of
50 rows. Writes ``vllm_adapter_store``: our seconds, and the server's warm ones as the peer's. The
answers are compared first. The model is a random Llama of width 512, float32. It says nothing about
vLLM on a GPU.
"""

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import record
import torch
from transformers import AutoModelForCausalLM

from llmrec.adapters.access import Tokens
from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.vllm_resolver import KEY
from llmrec.inference.vllm_identity import vllm_version
from llmrec.runs.environment import cores
from llmrec.testing.sized_llama import LlamaShape, save_sized_llama

_PROMPT, _GATE_DIM, _ROWS, _CLIENTS, _TOLERANCE = 128, 32, 50, 16, 1e-3


def measure(users: int, slots: int, layers: int, folder: Path) -> Path:
    """Measure and write.

    Args:
        users: Different users, one request each.
        slots: Adapters that vLLM holds at once.
        layers: Blocks of the model.
        folder: The results folder.
    """
    torch.set_num_threads(cores())
    shape = LlamaShape(512, 1536, layers, 8, 8, vocab_size=4096)
    with tempfile.TemporaryDirectory() as place:
        base = save_sized_llama(Path(place) / "base", shape)
        model = gated(base)
        store = AdapterStore.create(Path(place) / "store", model.experts(), gate_dtype="float32")
        states = np.random.default_rng(0).normal(size=(users, _GATE_DIM)).astype(np.float32)
        store.put_states([f"user{number}" for number in range(users)], states)
        rng = np.random.default_rng(1)
        prompts = [rng.integers(1, shape.vocab_size, (users, _PROMPT)) for _ in range(3)]
        gates = torch.from_numpy(store.weights_of(states))
        ours, expected = zip(*(fused(model, gates, each) for each in prompts), strict=True)
        key = secrets.token_urlsafe(48)
        with server(store.folder, base, slots, key) as address:
            tokens = [Tokens(key).of_user(f"user{number}") for number in range(users)]
            served, found = zip(*(ask_all(address, tokens, each) for each in prompts), strict=True)
        far = max(
            abs(value - want[row, token])
            for answers, want in zip(found, expected, strict=True)
            for row, (token, value) in enumerate(answers)
        )
        if not far <= _TOLERANCE:
            raise SystemExit(f"not the same numbers, so no times: {far}")
    setting = {
        "users": users, "slots": slots, "prompt": _PROMPT, "width": shape.width, "layers": layers,
        "experts": 8, "rank": 8, "clients": _CLIENTS, "dtype": "float32", "threads": cores(),
        "vllm_cold_seconds": served[0], "users_per_second": users / median(ours[1:]),
        "vllm_users_per_second": users / median(served[1:]), "largest_difference": float(far),
    }  # fmt: skip
    print({name: setting[name] for name in ("users_per_second", "vllm_users_per_second")}, far)
    peer = ("vLLM server over the store", vllm_version(), list(served[1:]))
    details = {"ours": list(ours), "served": list(served)}
    return record.write_benchmark(
        "vllm_adapter_store", setting, list(ours[1:]), peer, details=details, folder=folder
    )


def gated(base: Path) -> GatedLora:
    """Gated LoRA on a saved model."""
    config = GatedLoraConfig(target_modules=("q_proj", "v_proj"), gate_dim=_GATE_DIM, b_noise=0.05)
    network = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    return GatedLora(network, config, str(base)).eval()


@torch.inference_mode()
def fused(model: GatedLora, gates: torch.Tensor, prompts: Any) -> tuple[float, Any]:
    """Seconds and log-probabilities ``[users, vocabulary]``, in batches of mixed users."""
    began, parts = time.perf_counter(), []
    for start in range(0, len(prompts), _ROWS):
        rows = slice(start, start + _ROWS)
        ids = torch.from_numpy(prompts[rows])
        logits = model(input_ids=ids, gate_weights=gates[rows], logits_to_keep=1).logits[:, -1]
        parts.append(logits.log_softmax(-1))
    found = torch.cat(parts).numpy()
    return time.perf_counter() - began, found


def ask_all(address: str, tokens: list[str], prompts: Any) -> tuple[float, list[tuple[int, float]]]:
    """Seconds, and the most probable token of every user with its log-probability."""
    began = time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        found = list(
            pool.map(lambda row: ask(address, tokens[row], prompts[row]), range(len(tokens)))
        )
    return time.perf_counter() - began, found


def ask(address: str, token: str, prompt: Any) -> tuple[int, float]:
    """The most probable next token for a user."""
    body = {"model": "own", "prompt": prompt.tolist(), "max_tokens": 1, "temperature": 0,
            "logprobs": 1, "return_tokens_as_token_ids": True}  # fmt: skip
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        f"{address}/v1/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        logprobs = json.loads(answer.read())["choices"][0]["logprobs"]
    return int(logprobs["tokens"][0].removeprefix("token_id:")), logprobs["token_logprobs"][0]


@contextmanager
def server(store: Path, base: Path, slots: int, key: str) -> Iterator[str]:
    """``llmrec adapters serve`` on a free port of loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(Path(sys.executable).with_name("llmrec")), "adapters", "serve", str(store)]
    command += [str(base), "--port", str(port), "--slots", str(slots), "--", "--dtype", "float32"]
    command += ["--enforce-eager", "--kv-cache-memory-bytes", str(2**29), "--max-num-seqs", "32"]
    environment = os.environ | {
        KEY: key,
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(480):
        if process.poll() is not None:
            raise SystemExit("the server ended by itself.")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise SystemExit("the server does not answer.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    measure(given.users, given.slots, given.layers, given.folder)


if __name__ == "__main__":
    main()
