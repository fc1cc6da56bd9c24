"""Benchmark results in the committed schema, and everything else that was measured beside them.

``eval/results/benchmarks/<name>.json`` holds the schema of ``llmrec.evaluation.results``; all
repeats, the peers' settings, versions, work and ceilings go to ``details/<name>.json``. Machines
are described, never named.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec.evaluation.results import BENCHMARKS, Benchmark, PeerTiming, Spread, Timing
from llmrec.evaluation.results import write_result as write_record
from llmrec.runs.environment import cores, source_commit
from llmrec.storage import write_json

RESULTS = Path(__file__).parents[1] / "results"

Scalars = Mapping[str, str | int | float | bool]


def machine() -> str:
    """Processor, cores and memory of this machine in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{_cpu_model()}, {cores()} cores, {memory / 2**30:.0f} GiB"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown processor"
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in values.items()}
    flags = set(fields.get("flags", "").split())
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    number = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{fields.get('model name', 'unknown processor')} ({number}; {' '.join(wide)})"


def ratio(ours: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    """How many times longer the peer takes, over all pairs of our and its repeats.

    >>> ratio([1.0, 2.0], [6.0])
    {'median': 4.5, 'min': 3.0, 'max': 6.0}
    """
    pairs = [theirs / own for own in ours for theirs in peer]
    return {"median": statistics.median(pairs), "min": min(pairs), "max": max(pairs)}


def write_benchmark(
    name: str,
    setting: Scalars,
    ours: Sequence[float],
    peer: tuple[str, str, Sequence[float]] | None = None,
    ceiling_share: float | None = None,
    details: Any = None,
    folder: Path = RESULTS,
    compare: bool = True,
) -> Path:
    """Write one benchmark.

    Args:
        name: Name of the benchmark; the file is called after it.
        setting: What exactly was run.
        ours: Our seconds, one per repeat; the median is recorded.
        peer: Name, version and seconds of the peer, or None.
        ceiling_share: Share of the machine's measured ceiling that was reached, or None.
        details: Anything else that was measured, as JSON values.
        folder: The results folder.
        compare: Whether the two times are for the same job and their ratio means something.
    """
    theirs, spread = None, None
    if peer is not None:
        label, version, seconds = peer
        theirs = PeerTiming(seconds=statistics.median(seconds), name=label, version=version)
        spread = Spread(**ratio(ours, seconds)) if compare else None
    result = Benchmark(
        benchmark=name,
        setting=dict(setting),
        ours=Timing(seconds=statistics.median(ours)),
        peer=theirs,
        ratio=spread,
        ceiling_share=ceiling_share,
        machine=machine(),
        commit=source_commit() or "uncommitted",
    )
    if details is not None:
        write_json(folder / BENCHMARKS / "details" / f"{name}.json", details)
    return write_record(result, folder)
