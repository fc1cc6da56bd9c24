"""Time the Hugging Face backend against plainer ways to get the same answers.

    python eval/benchmarks/inference.py [NAME...] [--trial] [--folder F]

Jobs of a comparison take turns, so that a disturbance hits all of them. Before anything is timed
each runs once, and log-probabilities of equal work are compared to 1e-3. Models have random
weights; float32, all cores unless --threads says otherwise.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import ceiling
import inference_jobs as jobs
import inference_storage
import numpy as np
import record
import torch
import work

from llmrec.runs.environment import cores
from llmrec.testing.sized_llama import save_sized_llama

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_TOLERANCE = 1e-3

# name: (model, comparison, sizes of a trial run)
CASES: dict[str, tuple[str, Callable[..., jobs.Comparison], dict[str, int]]] = {
    "hf_shared_prefix": (
        "small", jobs.shared_prefix, {"prompt": 60, "continuations": 6, "tokens": 4},
    ),
    "hf_by_length": ("tiny", jobs.by_length, {"prompts": 64, "longest": 64}),
    "hf_mixed_adapters": (
        "small",
        lambda *given, **size: jobs.mixed_adapters(*given, ("q_proj", "v_proj"), **size),
        {"requests": 8, "adapters": 4},
    ),
    "hf_mixed_adapters_all_layers": (
        "small",
        lambda *given, **size: jobs.mixed_adapters(*given, ALL, **size),
        {"requests": 8, "adapters": 4},
    ),
    "hf_signatures_k20": (
        "small",
        lambda *given, **size: jobs.signatures(*given, k=20, **size),
        {"prompts": 4, "tokens": 6},
    ),
    "hf_signatures_k100": (
        "small",
        lambda *given, **size: jobs.signatures(*given, k=100, **size),
        {"prompts": 4, "tokens": 6},
    ),
}  # fmt: skip
STORAGE = {
    "signature_bytes": inference_storage.signature_bytes,
    "cache_hit": inference_storage.cache_hit,
}
SHAPES = {"small": jobs.SMALL, "tiny": jobs.TINY}


def measure(
    names: tuple[str, ...] = (*CASES, *STORAGE),
    repeats: int = 3,
    trial: bool = False,
    folder: Path = record.RESULTS,
    threads: int | None = None,
    shared: bool = False,
) -> list[Path]:
    """Run comparisons and write one benchmark for each peer.

    Args:
        names: Which.
        repeats: How often each job is timed.
        trial: At small sizes, to see that everything runs; not a result.
        folder: The results folder.
        threads: Of the processor; None takes all cores.
        shared: Whether other work runs on the machine, which is then said in the setting.
    """
    threads = threads or cores()
    torch.set_num_threads(threads)
    peak = {"flops": _peak_flops(), "bytes": ceiling.copy_bytes()}
    with tempfile.TemporaryDirectory() as place:
        folders = {
            name: save_sized_llama(Path(place) / name, shape) for name, shape in SHAPES.items()
        }
        found: list[Path] = []
        for name in names:
            if name in STORAGE:
                found.append(STORAGE[name](folders["tiny"], folder, repeats, trial))
                continue
            model, comparison, small = CASES[name]
            case = comparison(folders[model], SHAPES[model], **(small if trial else {}))
            case.setting |= {"threads": threads, "beside_other_work": shared}
            found += _compare(name, case, repeats, peak, folder)
    return found


def _compare(
    name: str, case: jobs.Comparison, repeats: int, peak: Mapping[str, float], folder: Path
) -> list[Path]:
    answers = {label: job() for label, job in case.jobs.items()}
    differences = largest_differences(answers)
    seconds = take_turns(case.jobs, repeats if case.repeats is None else case.repeats)
    least = work.seconds_at_ceiling(case.flops, case.traffic, peak["flops"], peak["bytes"])
    share = least / median(seconds["ours"])
    ours = median(seconds["ours"])
    details = {"seconds": seconds, "flops": case.flops, "weight_bytes": case.traffic, "peak": peak}
    details |= {"largest_difference": differences}
    found = []
    for label in [label for label in case.jobs if label != "ours"]:
        print(f"  {name}: {median(seconds[label]) / ours:.3f} x ({label}), share {share:.2f}")
        tool = "peft" if label.startswith("peft") else "transformers"
        alone = len(case.jobs) == 2
        found.append(
            record.write_benchmark(
                name if alone else f"{name}_against_{label.replace(' ', '_').replace('-', '_')}",
                case.setting,
                seconds["ours"],
                peer=(label, f"{tool} {version(tool)}", seconds[label]),
                ceiling_share=share,
                details=details,
                folder=folder,
            )
        )
    return found


def largest_differences(answers: Mapping[str, Any]) -> dict[str, float]:
    """How far log-probabilities are from ours; peers that did other work give None.

    Raises:
        SystemExit: Further than rounding can explain.
    """
    own = answers["ours"]
    found = {
        label: float(np.abs(theirs - own).max())
        for label, theirs in answers.items()
        if theirs is not None and label != "ours"
    }
    if far := {label: far for label, far in found.items() if not far <= _TOLERANCE}:
        raise SystemExit(f"not the same numbers, so no times: {far}")
    return found


def take_turns(named: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each job, one per repeat; every other round in the opposite order."""
    seconds: dict[str, list[float]] = {label: [] for label in named}
    for number in range(repeats):
        for label in list(named) if number % 2 == 0 else list(named)[::-1]:
            started = time.perf_counter()
            named[label]()
            seconds[label].append(time.perf_counter() - started)
    return seconds


def _peak_flops() -> float:
    """The faster of two products: a square one, and one like those of the small model."""
    shape = jobs.SMALL
    return max(
        ceiling.matmul_flops(2048, 2048, 2048, torch.float32),
        ceiling.matmul_flops(2048, shape.width, shape.feed_forward, torch.float32),
    )


def main() -> None:
    """Run the comparisons that were named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = (*CASES, *STORAGE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--trial", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument(
        "--shared", action="store_true", help="other work runs on the machine: say so"
    )
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(known)):
        parser.error(f"unknown comparison {unknown}; known are {', '.join(known)}.")
    names = tuple(given.names) or known
    options = (given.repeats, given.trial, given.folder, given.threads, given.shared)
    for path in measure(names, *options):
        print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    main()
