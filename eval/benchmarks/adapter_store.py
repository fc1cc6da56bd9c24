"""Time the adapter store: a million users, one looked up at a time, adapters made on demand.

Usage: ``python eval/benchmarks/adapter_store.py [--users N] [--store FOLDER] [--trial]
[--folder F]``. With ``--store`` the store stays there and a second run uses it again; filling one
with a million users takes a minute or two and 2.2 GB.

Users have synthetic gates over 64 modules and 16 experts in half precision, 2,048 bytes; experts
are random, in the layout of the queries and values of a 7B Llama, so that an adapter has 8.4 MB.
``adapter_store_lookup`` is the median time to find what serves a user, drawn evenly from all and
from strangers one time in a hundred, with the pages of the file in memory and, as ``cold_*``, after
the system was told to drop them; ``processor_*`` counts the processor's time, on a machine that is
not alone. ``adapter_store_materialise`` is the median time until an adapter
that is not on disk lies there, whole, hashed and flushed. Its details hold how far the materialised
adapter is from the model in memory, in log-probabilities.
"""

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_lora_jobs as jobs
import numpy as np
import record
import torch
from transformers import OPTConfig, OPTForCausalLM

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.experts import BaseModelId, Experts, Site
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.gates import GateBank
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.verify import verify_export
from llmrec.runs.environment import cores

_LAYERS, _EXPERTS, _RANK, _WIDTH = 32, 16, 8, 4096
_AT_ONCE = 20_000
_LOOKUPS, _COLD, _MADE = 20_000, 2_000, 15


def experts_of(width: int) -> Experts:
    """Random experts on queries and values of 32 blocks; there is no base model behind them."""
    config = GatedLoraConfig(
        target_modules=jobs.TARGETS, experts=_EXPERTS, rank=_RANK, gate_dim=jobs.GATE_DIM
    )
    paths = [f"model.layers.{n}.self_attn.{t}" for n in range(_LAYERS) for t in jobs.TARGETS]
    sites = tuple(Site(path, width, width, number) for number, path in enumerate(paths))
    generator = torch.Generator().manual_seed(0)
    stacked, tensors = _EXPERTS * _RANK, {}
    for path in paths:
        tensors[f"{path}.lora_A"] = torch.randn(stacked, width, generator=generator) / 64
        tensors[f"{path}.lora_B"] = torch.randn(width, stacked, generator=generator) / 64
    torch.manual_seed(0)
    bank = GateBank(config, len(sites))
    tensors |= {f"gates.{name}": value.detach() for name, value in bank.named_parameters()}
    return Experts(config, sites, BaseModelId("synthetic", "0" * 16), tensors)


def fill(store: AdapterStore, users: int) -> float:
    """Write gates of users; returns the seconds that the store took."""
    rng, seconds = np.random.default_rng(0), 0.0
    for start in range(0, users, _AT_ONCE):
        size = min(_AT_ONCE, users - start)
        gates = rng.random((size, *store.experts.gate_shape), dtype=np.float32) ** 4
        gates /= gates.sum(-1, keepdims=True)
        began = time.perf_counter()
        store.put([f"user{number}" for number in range(start, start + size)], gates)
        seconds += time.perf_counter() - began
    return seconds


def measure(
    users: int = 1_000_000,
    place: Path | None = None,
    trial: bool = False,
    folder: Path = record.RESULTS,
) -> list[Path]:
    """Measure and write ``adapter_store_lookup`` and ``adapter_store_materialise``.

    Args:
        users: Users in the store.
        place: A folder that keeps the store for another run; None uses a temporary one.
        trial: Small adapters, to see that everything runs; not a result.
        folder: The results folder.
    """
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as temporary:
        where = place or Path(temporary) / "store"
        store, filling = _store(where, users, 128 if trial else _WIDTH)
        setting: dict[str, str | int | float] = {
            "users": users,
            "modules": 2 * _LAYERS,
            "experts": _EXPERTS,
            "gate_dtype": "float16",
            "bytes_per_user": _bytes(store) / users,
            "fill_seconds": filling,
        }
        print(f"  {setting['bytes_per_user']:.0f} bytes a user", flush=True)
        found = [_lookups(store, users, setting, folder)]
        found.append(_materialised(store, users, setting, folder))
    return found


def _store(where: Path, users: int, width: int) -> tuple[AdapterStore, float]:
    if (where / "store.json").is_file():
        store = AdapterStore(where)
        if len(store.gates) == users:
            return store, 0.0
        raise SystemExit(f"{where} holds {len(store.gates)} users and not {users}.")
    store = AdapterStore.create(where, experts_of(width), dtype="float16", byte_budget=1 << 30)
    filling = fill(store, users)
    print(f"  filled in {filling:.0f} s", flush=True)
    store.priors.fix()
    return store, filling


def _lookups(store: AdapterStore, users: int, setting: dict[str, Any], folder: Path) -> Path:
    rng = np.random.default_rng(1)
    asked = [f"user{n}" for n in rng.integers(0, users + users // 100 + 1, _LOOKUPS + _COLD)]
    store.weights(asked[0])
    warmed = _each(asked[:_LOOKUPS], store.weights)
    warm = _each(asked[:_LOOKUPS], store.weights)
    busy = _each(asked[:_LOOKUPS], store.weights, time.thread_time)
    _drop_pages(store)
    cold = _each(asked[_LOOKUPS:], store.weights)
    setting = setting | {
        "lookups": _LOOKUPS,
        "strangers": store.stats()["fallbacks"],
        "p99_seconds": float(np.quantile(warm, 0.99)),
        "processor_p50_seconds": float(np.median(busy)),
        "processor_p99_seconds": float(np.quantile(busy, 0.99)),
        "first_p50_seconds": float(np.median(warmed)),
        "first_p99_seconds": float(np.quantile(warmed, 0.99)),
        "cold_p50_seconds": float(np.median(cold)),
        "cold_p99_seconds": float(np.quantile(cold, 0.99)),
    }
    for name in (
        "p99_seconds",
        "processor_p50_seconds",
        "processor_p99_seconds",
        "first_p99_seconds",
        "cold_p50_seconds",
        "cold_p99_seconds",
    ):
        print(f"  lookup {name} {1e3 * setting[name]:.3f} ms")
    print(f"  lookup p50 {1e3 * np.median(warm):.3f} ms")
    return record.write_benchmark("adapter_store_lookup", setting, warm, folder=folder)


def _materialised(store: AdapterStore, users: int, setting: dict[str, Any], folder: Path) -> Path:
    rng = np.random.default_rng(2)
    asked = [f"user{n}" for n in rng.choice(users, _MADE, replace=False)]
    store.files.remove(list(store.files.names()))
    seconds = _each(asked, store.adapter)
    again = _each(asked, store.adapter)
    store.files.remove(list(store.files.names()))
    busy = _each(asked, store.adapter, time.process_time)
    size = store.files.total_bytes() // _MADE
    setting = setting | {
        "rank": _RANK,
        "width": store.experts.sites[0].in_features,
        "adapter_bytes": size,
        "dtype": "float16",
        "processor_p50_seconds": float(np.median(busy)),
        "found_p50_seconds": float(np.median(again)),
        "threads": torch.get_num_threads(),
    }
    print(f"  cold materialisation p50 {np.median(seconds):.3f} s of {size / 1e6:.1f} MB")
    print(f"  found on disk p50 {1e3 * np.median(again):.2f} ms")
    details = {"seconds": seconds, "largest_difference": differences()}
    print(f"  materialised against in memory: {details['largest_difference']}")
    return record.write_benchmark(
        "adapter_store_materialise", setting, seconds, details=details, folder=folder
    )


def differences() -> dict[str, float]:
    """Largest difference of a log-probability between an exported adapter and the model.

    On an OPT, because a Llama rounds to float32 inside whatever precision it is in.
    """
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=1024, hidden_size=256, word_embed_proj_dim=256, ffn_dim=512, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=64,
    )  # fmt: skip
    plain: Any = OPTForCausalLM(config).eval()
    lora = GatedLoraConfig(
        target_modules=jobs.TARGETS, gate_dim=jobs.GATE_DIM, rank=_RANK, b_noise=0.02
    )
    model, found = GatedLora(copy.deepcopy(plain), lora), {}
    trained = model.experts()
    weights = torch.rand(trained.gate_shape, generator=torch.Generator().manual_seed(1)).softmax(-1)
    with tempfile.TemporaryDirectory() as place:
        store = AdapterStore.create(Path(place) / "store", trained, gate_dtype="float32")
        store.put(["user"], weights.numpy()[None])
        for dtype in ("float64", "float32"):
            store.export("user", Path(place) / dtype, dtype=dtype)
            verified = verify_export(plain, trained, weights, Path(place) / dtype, dtype)
            found[dtype] = verified.largest
    return found


def _each(
    asked: list[str], job: Callable[[str], object], clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    seconds = []
    for user in asked:
        began = clock()
        job(user)
        seconds.append(clock() - began)
    return seconds


def _bytes(store: AdapterStore) -> int:
    return sum(path.stat().st_size for path in store.folder.glob("store.sqlite*"))


def _drop_pages(store: AdapterStore) -> None:
    """Tell the system to forget the file's pages, and open it anew."""
    os.sync()
    for path in store.folder.glob("store.sqlite*"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--store", type=Path, help="keep the store here, or use the one there")
    parser.add_argument("--trial", action="store_true", help="small adapters; not a result")
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    measure(given.users, given.store, given.trial, given.folder)


if __name__ == "__main__":
    main()
