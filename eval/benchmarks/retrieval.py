"""Time neighbour search: exact beside the machine's ceiling, and faiss at a million rows.

Usage: ``python eval/benchmarks/retrieval.py [exact] [faiss] [--rows N] [--queries N]``.
``exact`` writes ``retrieval_exact`` (131,072 x 256, every row a query, k = 20), ``faiss`` writes
``retrieval_1m`` (1,000,000 x 384, 100,000 of the rows as queries, k = 10). Other sizes are for
trying out and go to ``--folder``.

The vectors imitate embeddings of texts: a mixture on the unit sphere. A row is the sum of one of
``n / 5000`` broad directions, 0.7 x one of 50 finer ones below it, and 0.7 x noise, scaled to
length 1. All parts are Gaussian with standard deviation ``1 / (1 + j / 32)`` on axis ``j``, because
embeddings fill few of their axes; fine directions are drawn with probability ``1 / rank``, because
topics differ in size. Pure noise would make every index look bad and clean clusters every one good.
"""

import argparse
import time
from pathlib import Path

import ceiling
import numpy as np
import numpy.typing as npt
import record
import torch
import work

from llmrec.retrieval.exact import ExactIndex
from llmrec.retrieval.faiss_index import FaissIndex
from llmrec.retrieval.recall import RecallSample
from llmrec.runs.environment import cores

_EXACT = {"rows": 131_072, "dim": 256, "k": 20, "queries": 131_072}
_FAISS = {"rows": 1_000_000, "dim": 384, "k": 10, "queries": 100_000}
_TARGET, _SAFETY, _JUDGED, _REPEATS = 0.95, 0.01, 2000, 3
_FINE, _BLOCK = 50, 65_536


def mixture(rows: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draw unit vectors ``[rows, dim]`` from the mixture that the module describes."""
    rng = np.random.default_rng(seed)
    spread = (1 / (1 + np.arange(dim) / 32)).astype(np.float32)
    broad = max(1, rows // 5000)

    def normal(count: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal((count, dim), dtype=np.float32) * spread

    centres = np.repeat(normal(broad), _FINE, axis=0) + 0.7 * normal(broad * _FINE)
    chance = 1 / (1 + rng.permutation(len(centres)))
    topic = rng.choice(len(centres), rows, p=chance / chance.sum())
    values = np.empty((rows, dim), dtype=np.float32)
    for start in range(0, rows, _BLOCK):
        chosen = topic[start : start + _BLOCK]
        block = centres[chosen] + 0.7 * normal(chosen.size)
        values[start : start + _BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return values


def measure_exact(size: dict[str, int], folder: Path, threads: int) -> Path:
    """All queries against all rows with ``ExactIndex``; writes the share of the ceiling."""
    vectors = mixture(size["rows"], size["dim"])
    queries = vectors[: size["queries"]]
    started = time.perf_counter()
    index = ExactIndex(vectors)
    build = time.perf_counter() - started
    index.search(queries[:2048], size["k"])
    seconds = [_seconds_of_search(index, queries, size["k"]) for _ in range(_REPEATS)]
    flops = 2.0 * size["queries"] * size["rows"] * size["dim"]
    traffic = 4.0 * (vectors.size + queries.size + 3 * size["queries"] * size["k"])
    peak = max(
        ceiling.matmul_flops(2048, 2048, 2048, torch.float32),
        ceiling.matmul_flops(1024, size["dim"], 8192, torch.float32),
    )
    bound = work.seconds_at_ceiling(flops, traffic, peak, ceiling.copy_bytes())
    name = "retrieval_exact" if size == _EXACT else f"retrieval_exact_{size['rows']}"
    setting = size | {"threads": threads, "build_seconds": round(build, 2)}
    details = {"seconds": seconds, "flops": flops, "ceiling_flops": peak, "bytes": traffic}
    share = bound / float(np.median(seconds))
    return record.write_benchmark(
        name, setting, seconds, ceiling_share=share, details=details, folder=folder
    )


def measure_faiss(size: dict[str, int], folder: Path, threads: int) -> Path:
    """Build, tune and search an IVF index; recall is measured on rows that tuning did not see."""
    import faiss

    faiss.omp_set_num_threads(threads)  # it has an OpenMP of its own
    vectors = mixture(size["rows"], size["dim"])
    started = time.perf_counter()
    index = FaissIndex.build(vectors, "ivf_flat")
    built = time.perf_counter()
    # a sample's recall scatters; aim a little higher, so that the target is met on other rows too
    index.tune(vectors, recall=_TARGET + _SAFETY, k=size["k"], seed=1)
    tuned = time.perf_counter()
    chosen = np.random.default_rng(2).choice(size["rows"], size["queries"], replace=False)
    searching = _seconds_of_search(index, vectors[chosen], size["k"] + 1)
    recall = RecallSample.draw(vectors, size["k"], min(_JUDGED, size["rows"]), seed=3).recall(index)
    setting: dict[str, str | int | float | bool] = {
        **size,
        "index": "faiss IVF, flat",
        "threads": threads,
        "build_seconds": round(built - started, 1),
        "tune_seconds": round(tuned - built, 1),
        "lists": index.most_probes,
        "probes": index.probes,
        "recall": round(recall, 4),
        "recall_queries": min(_JUDGED, size["rows"]),
        "queries_per_second": round(size["queries"] / searching, 1),
    }
    if recall < _TARGET:
        raise SystemExit(f"recall {recall:.4f} is below {_TARGET}: {setting}")
    name = "retrieval_1m" if size == _FAISS else f"retrieval_{size['rows']}"
    return record.write_benchmark(name, setting, [searching], folder=folder)


def _seconds_of_search(
    index: ExactIndex | FaissIndex, queries: npt.NDArray[np.float32], k: int
) -> float:
    started = time.perf_counter()
    index.search(queries, k)
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmarks that were named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="exact, faiss; default both")
    parser.add_argument("--rows", type=int, help="rows instead of those of the benchmark")
    parser.add_argument("--queries", type=int, help="queries instead of those of the benchmark")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - {"exact", "faiss"}):
        parser.error(f"unknown benchmark {unknown}; known are exact, faiss.")
    torch.set_num_threads(given.threads)
    measured = {"exact": (measure_exact, _EXACT), "faiss": (measure_faiss, _FAISS)}
    for name in given.names or measured:
        measure, full = measured[name]
        rows = given.rows or full["rows"]
        queries = min(given.queries or full["queries"], rows)
        size = full | {"rows": rows, "queries": queries}
        print(f"written: {measure(size, given.folder, given.threads).name}", flush=True)


if __name__ == "__main__":
    main()
