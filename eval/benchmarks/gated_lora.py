"""Time gated LoRA on this processor: many users in one batch, and a training step.

Usage: ``python eval/benchmarks/gated_lora.py [serving] [training] [--repeats N] [--trial]
[--processor-time] [--folder F]``.

``serving`` writes ``gated_lora_against_*``: 64 users with prompts of 128 tokens in one batch,
beside the batch without adapters, peft's mixed batch, peft one adapter at a time, and our own path
one user at a time. ``training`` writes ``gated_lora_step_against_*``: a step on 16 rows of 128
tokens of different users, 8 experts of rank 8, gates included, beside one shared LoRA of rank 8, by
peft and by us. Both in float32 on a 1024-wide Llama of four blocks; jobs take turns, and before
anything is timed their answers are compared.

Counted beforehand: 8 experts of rank 8 on queries and values cost 12.5 % of an adapted matrix and
2 % of all (``low_rank_share``); what is beyond that is memory traffic and small products.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import ceiling
import gated_lora_jobs as jobs
import record
import torch

from llmrec.runs.environment import cores

_TOLERANCE = 1e-3
Clock = Callable[[], float]
_SLOW = ("peft one by one", "ours one by one")  # timed once


def measure(
    what: tuple[str, ...] = ("serving", "training"),
    repeats: int = 5,
    trial: bool = False,
    folder: Path = record.RESULTS,
    processor_time: bool = False,
) -> list[Path]:
    """Run and write.

    Args:
        what: ``serving``, ``training`` or both.
        repeats: How often each job is timed.
        trial: At a small size, to see that everything runs; not a result.
        folder: The results folder.
        processor_time: Count the processor's time on one thread, not the clock's, on a machine
            that is not alone; shares of the ceiling are then those of a thread.
    """
    torch.set_num_threads(1 if processor_time else cores())
    clock = time.process_time if processor_time else time.perf_counter
    shape = jobs.TINY if trial else jobs.SHAPE
    peak = ceiling.matmul_flops(2048, shape.width, shape.feed_forward, torch.float32)
    kinds = {"serving": _serving, "training": _training}
    return [path for name in what for path in kinds[name](shape, repeats, peak, folder, clock)]


def _serving(
    shape: jobs.LlamaShape, repeats: int, peak: float, folder: Path, clock: Clock
) -> list[Path]:
    rows, tokens = (64, 128) if shape is jobs.SHAPE else (6, 16)
    model = jobs.gated(shape, "cpu")
    users = jobs.users_of(model, shape, rows, tokens, "cpu")
    theirs = jobs.peft_model(model, shape, users)
    plain = jobs.base(shape, "cpu", torch.float32)
    named = {
        "ours": jobs.fused(model, users),
        "un-adapted batch": jobs.un_adapted(plain, users),
        "fused route": jobs.fused(model, users, "fused"),
        "merged route": jobs.fused(model, users, "merged"),
        "peft mixed batch": jobs.peft_mixed(theirs, users),
        "peft one by one": jobs.peft_one_by_one(theirs, users),
        "ours one by one": jobs.one_user_at_a_time(model, users),
    }
    differences = _differences(named)
    quick = {name: job for name, job in named.items() if name not in _SLOW}
    seconds = take_turns(quick, repeats, clock)
    seconds |= take_turns({name: named[name] for name in _SLOW}, 1, clock)
    needed = jobs.batch_flops(shape, rows, tokens)
    setting = _about(shape) | {"users": rows, "tokens": tokens, "clock": clock.__name__}
    details = {"seconds": seconds, "largest_difference": differences, "base_flops": needed,
               "low_rank_share": jobs.low_rank_share(shape, jobs.EXPERTS * jobs.RANK),
               "peak_flops": peak}  # fmt: skip
    share = needed / peak / median(seconds["ours"])
    return _write("gated_lora", setting, seconds, share, details, folder)


def _training(
    shape: jobs.LlamaShape, repeats: int, peak: float, folder: Path, clock: Clock
) -> list[Path]:
    rows, tokens = (16, 128) if shape is jobs.SHAPE else (4, 16)
    model, shared = jobs.gated(shape, "cpu"), jobs.gated(shape, "cpu", compose="shared")
    users = jobs.users_of(model, shape, rows, tokens, "cpu")
    states = torch.randn(rows, jobs.GATE_DIM, generator=torch.Generator().manual_seed(3))
    step = {
        "ours": jobs.training_step(model, users.ids, {"gate_input": states}),
        "peft shared LoRA": jobs.training_step(jobs.shared_peft(shape, "cpu"), users.ids, {}),
        "our shared LoRA": jobs.training_step(shared, users.ids, {}),
    }
    for job in step.values():
        job()
    seconds = take_turns(step, repeats, clock)
    # forward and the gradient of inputs; frozen weights need no gradient of their own
    needed = 2 * shape.forward_flops(
        rows * tokens, rows * tokens * (tokens + 1) // 2, rows * tokens
    )
    details = {"seconds": seconds, "base_flops": needed, "peak_flops": peak,
               "low_rank_share": jobs.low_rank_share(shape, jobs.EXPERTS * jobs.RANK)}  # fmt: skip
    setting = _about(shape) | {"users": rows, "tokens": tokens, "clock": clock.__name__}
    share = needed / peak / median(seconds["ours"])
    return _write("gated_lora_step", setting, seconds, share, details, folder)


def take_turns(
    named: dict[str, jobs.Job], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each job, one per repeat; every other round in the opposite order."""
    seconds: dict[str, list[float]] = {label: [] for label in named}
    for number in range(repeats):
        for label in list(named) if number % 2 == 0 else list(named)[::-1]:
            started = clock()
            named[label]()
            seconds[label].append(clock() - started)
    return seconds


def _about(shape: jobs.LlamaShape) -> dict[str, str | int]:
    names = ("width", "feed_forward", "layers", "heads", "vocab_size", "weights")
    return {name: getattr(shape, name) for name in names} | {
        "experts": jobs.EXPERTS,
        "rank": jobs.RANK,
        "targets": " ".join(jobs.TARGETS),
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }


def _differences(named: dict[str, jobs.Job]) -> dict[str, float]:
    """How far answers are from ours; the run without adapters gives None.

    Raises:
        SystemExit: Further than rounding can explain.
    """
    answers = {label: job() for label, job in named.items()}
    own = answers["ours"]
    found = {
        label: float((theirs - own).abs().max())
        for label, theirs in answers.items()
        if theirs is not None and label != "ours"
    }
    if far := {label: far for label, far in found.items() if not far <= _TOLERANCE}:
        raise SystemExit(f"not the same numbers, so no times: {far}")
    return found


def _write(
    name: str,
    setting: dict[str, str | int],
    seconds: dict[str, list[float]],
    share: float,
    details: dict[str, object],
    folder: Path,
) -> list[Path]:
    found = []
    ours = median(seconds["ours"])
    for label in [label for label in seconds if label != "ours"]:
        print(f"  {name}: ours takes {ours / median(seconds[label]):.3f} x {label}")
        tool = "peft" if "peft" in label else "transformers"
        peer = (label, f"{tool} {version(tool)}", seconds[label])
        path = f"{name}_against_{label.replace(' ', '_').replace('-', '_')}"
        found.append(
            record.write_benchmark(
                path, setting, seconds["ours"], peer, share, details, folder=folder
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["serving", "training"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trial", action="store_true", help="at a small size; not a result")
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    parser.add_argument(
        "--processor-time", action="store_true", help="one thread, for a machine not alone"
    )
    given = parser.parse_args()
    measure(tuple(given.what), given.repeats, given.trial, given.folder, given.processor_time)


if __name__ == "__main__":
    main()
