"""What results take on disk, and what it takes to get them from there.

Bytes of a record are those of its file over its tokens, all of the file's overhead included.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import record
from inference_jobs import TINY, about

from llmrec.inference.cache import ResponseCache
from llmrec.inference.cached_model import CachedModel
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.request_keys import request_key
from llmrec.inference.requests import Decoding, GenerateRequest
from llmrec.inference.results import Generation
from llmrec.inference.shards import write_shard
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore
from llmrec.testing.sized_llama import random_text

Asked = Sequence[tuple[GenerateRequest, Generation]]


def shard_bytes(folder: Path, pairs: Asked) -> int:
    """Size of a shard's file."""
    path = write_shard(folder, 1, 1, [request for request, _ in pairs], [one for _, one in pairs])
    return path.stat().st_size


def cache_bytes(folder: Path, pairs: Asked) -> int:
    """Size of a response cache when its log is written back."""
    path = folder / "cache.sqlite"
    ResponseCache(path).put({request_key(request): found for request, found in pairs})
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def store_bytes(folder: Path, pairs: Asked) -> int:
    """Size of a store of signatures, its description included."""
    records = [found.signature for _, found in pairs if found.signature is not None]
    SignatureStore(folder / "store").append(SignatureSet.of(records))
    return sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())


# another store joins by a function from a folder and answered requests to bytes
STORES: dict[str, Callable[[Path, Asked], int]] = {
    "store": store_bytes,
    "shard": shard_bytes,
    "cache": cache_bytes,
}


def signature_bytes(model: Path, folder: Path, repeats: int, trial: bool, k: int = 20) -> Path:
    """Bytes a token of stored records, with token ids and texts and without."""
    pairs = _answered(model, 8 if trial else 64, 8 if trial else 64, k)
    tokens = sum(found.tokens for _, found in pairs)
    bare = [(request, _without_ids(found)) for request, found in pairs]
    setting: dict[str, str | int | float | bool] = {"k": k, "records": len(pairs), "tokens": tokens}
    seconds: list[float] = []
    for name, size_of in STORES.items():
        for label, stored in (("with_ids", pairs), ("without_ids", bare)):
            for _ in range(repeats if name == "store" else 1):
                with tempfile.TemporaryDirectory() as place:
                    started = time.perf_counter()
                    size = size_of(Path(place), stored)
                    seconds += [time.perf_counter() - started] if label == "with_ids" else []
            setting[f"{name}_bytes_per_token_{label}"] = round(size / tokens, 1)
    print(f"  signature_bytes: {setting}")
    return record.write_benchmark("signature_bytes", setting, seconds[:repeats], folder=folder)


def cache_hit(model: Path, folder: Path, repeats: int, trial: bool) -> Path:
    """One answer of 32 tokens from the cache, against asking the tiny model for it."""
    language_model = HFLanguageModel(model, device="cpu")
    rng = np.random.default_rng(5)
    decoding = Decoding(max_tokens=32, ignore_eos=True)
    count = 4 if trial else 20
    asked = [GenerateRequest(random_text(64, TINY.vocab_size, rng), decoding) for _ in range(count)]
    hits, calls = [], []
    with tempfile.TemporaryDirectory() as place:
        cached = CachedModel(language_model, ResponseCache(Path(place) / "cache.sqlite"))
        cached.generate(asked)
        for _ in range(repeats):
            hits.append(_seconds_each(cached.generate, asked))
            calls.append(_seconds_each(language_model.generate, asked))
        assert cached.calls == count, "a hit asked the model"
    setting = about(TINY) | {"prompt": 64, "tokens": 32, "requests": count, "entries": count}
    peer = ("the tiny model, one request a call", "this version", calls)
    print(f"  cache_hit: {record.ratio(hits, calls)['median']:.1f} x")
    return record.write_benchmark("cache_hit", setting, hits, peer=peer, folder=folder)


def _seconds_each(
    ask: Callable[[list[GenerateRequest]], object], asked: Sequence[GenerateRequest]
) -> float:
    started = time.perf_counter()
    for request in asked:
        ask([request])
    return (time.perf_counter() - started) / len(asked)


def _answered(model: Path, count: int, tokens: int, k: int) -> Asked:
    rng = np.random.default_rng(4)
    decoding = Decoding(max_tokens=tokens, ignore_eos=True)
    requests = [
        GenerateRequest(random_text(32, TINY.vocab_size, rng), decoding, logprobs=k)
        for _ in range(count)
    ]
    return list(zip(requests, HFLanguageModel(model, device="cpu").generate(requests), strict=True))


def _without_ids(found: Generation) -> Generation:
    assert found.signature is not None
    bare = replace(found.signature, topk_ids=None, tokens=None, text=None)
    return replace(found, signature=bare)
