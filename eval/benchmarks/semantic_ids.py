"""Time residual k-means beside faiss: balanced and plain, what they cost, what collides.

Usage: ``python eval/benchmarks/semantic_ids.py [--rows N] [--repeats N] [--threads N]
[--folder DIR]``. The full size is 100,000 x 384 vectors, 3 levels of 256 codes; it writes
``semantic_ids_kmeans``, other sizes ``semantic_ids_kmeans_<rows>``.

The vectors are the mixture of ``retrieval.py``. faiss runs its own k-means level by level on the
residuals, 30 rounds, all rows as training points; ours stops after at most 30. Inertia is the mean
squared length of the last residual. The two are not the same job: ours gives every code the same
load, so the ratio of times is recorded but says what balance costs, not who is faster. Plain
k-means of ours, which is the same job, is beside it in the details.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import ceiling
import faiss
import numpy as np
import numpy.typing as npt
import record
import retrieval
import torch
import work

from llmrec.recommenders.onerec.tokenizer.collisions import count_collisions
from llmrec.recommenders.onerec.tokenizer.config import Balance
from llmrec.recommenders.onerec.tokenizer.kmeans import residual_kmeans
from llmrec.runs.environment import cores

ROWS, DIMENSION, LEVELS, CODES, ROUNDS = 100_000, 384, 3, 256, 30

Vectors = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def measure(
    rows: int = ROWS,
    repeats: int = 1,
    threads: int | None = None,
    folder: Path = record.RESULTS,
) -> list[Path]:
    """Run all forms, taking turns, and write one record."""
    threads = threads or cores()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    vectors = retrieval.mixture(rows, DIMENSION)
    runs: dict[str, list[dict[str, Any]]] = {"capacity": [], "none": [], "faiss": []}
    for seed in range(repeats):
        for name, found in runs.items():
            found.append(
                with_faiss(vectors, seed) if name == "faiss" else ours(vectors, name, seed)
            )
            print(name, {key: found[-1][key] for key in ("seconds", "inertia", "collisions")})
    first, theirs = runs["capacity"][0], runs["faiss"][0]
    if min(first["smallest_loads"]) < 1:
        raise SystemExit(f"a code is not used: {first['smallest_loads']}.")
    rounds = sum(first["rounds"])
    flops = 2.0 * rows * CODES * DIMENSION * rounds
    traffic = 4.0 * rows * rounds * (2 * DIMENSION + 2 * CODES)  # vectors twice, costs out and in
    least = work.seconds_at_ceiling(
        flops, traffic, ceiling.matmul_flops(2048, 2048, 2048, torch.float32), ceiling.copy_bytes()
    )
    seconds = [run["seconds"] for run in runs["capacity"]]
    setting = {
        "rows": rows, "dim": DIMENSION, "levels": LEVELS, "codes": CODES, "threads": threads,
        "rounds": rounds, "needed_flops": flops, "needed_bytes": traffic,
        "inertia": first["inertia"], "inertia_plain": runs["none"][0]["inertia"],
        "inertia_faiss": theirs["inertia"],
        "collisions": first["collisions"], "collisions_plain": runs["none"][0]["collisions"],
        "collisions_faiss": theirs["collisions"],
        "smallest_load": min(first["smallest_loads"]), "largest_load": max(first["largest_loads"]),
        "smallest_load_faiss": min(theirs["smallest_loads"]),
        "largest_load_faiss": max(theirs["largest_loads"]),
    }  # fmt: skip
    name = "semantic_ids_kmeans" if rows == ROWS else f"semantic_ids_kmeans_{rows}"
    peer = ("faiss Kmeans, not balanced", faiss.__version__, [r["seconds"] for r in runs["faiss"]])
    share = least / float(np.median(seconds))
    return [record.write_benchmark(name, setting, seconds, peer, share, runs, folder)]


def ours(vectors: Vectors, balance: Balance, seed: int) -> dict[str, Any]:
    """One run of our residual k-means."""
    started = time.perf_counter()
    levels = residual_kmeans(vectors, LEVELS, CODES, balance, ROUNDS, seed)
    seconds = time.perf_counter() - started
    codes = np.stack([level.codes.numpy() for level in levels], axis=1)
    centroids = [level.centroids.numpy() for level in levels]
    return describe(vectors, codes, centroids, seconds, [level.rounds for level in levels])


def with_faiss(vectors: Vectors, seed: int) -> dict[str, Any]:
    """The same with faiss, level by level."""
    started = time.perf_counter()
    residual, codes, centroids = vectors.copy(), [], []
    for level in range(LEVELS):
        kmeans = faiss.Kmeans(
            DIMENSION, CODES, niter=ROUNDS, seed=seed * LEVELS + level + 1,
            max_points_per_centroid=len(vectors),
        )  # fmt: skip
        kmeans.train(residual)
        _, found = kmeans.index.search(residual, 1)
        codes.append(found[:, 0])
        centroids.append(kmeans.centroids.reshape(CODES, DIMENSION))
        residual -= centroids[-1][codes[-1]]
    seconds = time.perf_counter() - started
    return describe(vectors, np.stack(codes, axis=1), centroids, seconds, [ROUNDS] * LEVELS)


def describe(
    vectors: Vectors, codes: Codes, centroids: list[Vectors], seconds: float, rounds: list[int]
) -> dict[str, Any]:
    """What a run is judged by, as JSON values."""
    residual = vectors.copy()
    for level, table in enumerate(centroids):
        residual -= table[codes[:, level]]
    loads = [np.bincount(column, minlength=CODES) for column in codes.T]
    return {
        "seconds": seconds,
        "rounds": rounds,
        "inertia": float((residual**2).sum(1).mean()),
        "collisions": count_collisions(codes.astype(np.int32)),
        "smallest_loads": [int(load.min()) for load in loads],
        "largest_loads": [int(load.max()) for load in loads],
    }


def main() -> None:
    """Measure at the size that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    for path in measure(given.rows, given.repeats, given.threads, given.folder):
        print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    main()
