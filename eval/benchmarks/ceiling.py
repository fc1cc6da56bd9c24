"""Measure what this machine can do at most: matrix products and memory traffic.

Run by itself it prints JSON. The best of several repeats counts, because a ceiling is what the
machine reaches when nothing disturbs it. It says nothing about any model.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ITEMS, WIDTH, ROWS = 12_101, 64, 256
# name: (m, k, n) of an [m, k] x [k, n] product
SHAPES = {
    "square": (2048, 2048, 2048),
    "softmax_scores": (ROWS, WIDTH, ITEMS),
    "softmax_state_gradient": (ROWS, ITEMS, WIDTH),
    "softmax_item_gradient": (ITEMS, ROWS, WIDTH),
}
_COPIED_VALUES = 1 << 26  # float32, 256 MiB: larger than a core's caches
_REPEATS, _SHORTEST = 7, 0.2


def measure(threads: int) -> dict[str, Any]:
    """Ceilings with a number of threads, in operations and bytes per second.

    Returns:
        ``{"threads", "matmul": {"float32": {shape: flops/s}, "bf16": ...}, "copy_bytes"}``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        types = {"float32": torch.float32, "bf16": torch.bfloat16}
        matmul = {
            name: {label: matmul_flops(*shape, dtype) for label, shape in SHAPES.items()}
            for name, dtype in types.items()
        }
        return {"threads": threads, "matmul": matmul, "copy_bytes": copy_bytes()}
    finally:
        torch.set_num_threads(before)


def matmul_flops(m: int, k: int, n: int, dtype: torch.dtype) -> float:
    """Operations per second of an ``[m, k] x [k, n]`` product into given memory."""
    left, right = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
    out = torch.empty(m, n, dtype=dtype)
    return 2.0 * m * k * n / _best_seconds(lambda: torch.mm(left, right, out=out))


def copy_bytes() -> float:
    """Bytes read and written per second by a copy that does not fit the caches."""
    source, out = torch.ones(_COPIED_VALUES), torch.empty(_COPIED_VALUES)
    return 2.0 * 4 * _COPIED_VALUES / _best_seconds(lambda: out.copy_(source))


def _best_seconds(job: Callable[[], Tensor]) -> float:
    """Seconds of one call: the best of several series, each long enough to be timed well."""
    job()
    started = time.perf_counter()
    job()
    calls = max(1, int(_SHORTEST / max(time.perf_counter() - started, 1e-9)))
    return min(_series(job, calls) for _ in range(_REPEATS)) / calls


def _series(job: Callable[[], Tensor], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        job()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2), indent=2))
