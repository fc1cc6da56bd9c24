"""Time gated LoRA on an accelerator: 64 users in one batch beside one after the other.

    python eval/benchmarks/gated_lora_gpu.py --output measured.json [--device cuda] [--tiny]
        [--seconds 60]
    python eval/benchmarks/gated_lora_gpu.py --record measured.json [--commit HASH] [--folder F]

The first measures and writes after every job: 64 users of 32 tokens (and of 128) in bfloat16, on a
Llama of 0.9 billion random weights; our fused path, the same batch without adapters, our path one
user at a time, peft's mixed batch and peft one adapter at a time. It stops by itself after
``--seconds``. The second puts what was measured elsewhere among the committed benchmarks.
"""

import argparse
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gated_lora_jobs as jobs
import record
import torch

from llmrec.errors import ArtifactError
from llmrec.evaluation.results import BENCHMARKS, Benchmark, PeerTiming, Spread, Timing
from llmrec.evaluation.results import write_result as write_record
from llmrec.runs.environment import source_commit
from llmrec.storage import read_json, write_json

_USERS, _TOKENS, _REPEATS = 64, (32, 128), 7
_TOLERANCE = 0.25  # of log-probabilities in bfloat16; what is further did other work


class Clock:
    """Times jobs until the time is up, and keeps what was found in a file."""

    def __init__(self, output: Path, seconds: float, device: str) -> None:
        self._output, self._device = output, device
        self._ends = time.perf_counter() + seconds
        self.found: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return self._ends - time.perf_counter()

    def save(self) -> None:
        """Write what was found so far."""
        write_json(self._output, self.found)

    def seconds(self, job: jobs.Job) -> float:
        """Seconds that a job takes, the device's work included."""
        self._wait()
        start = time.perf_counter()
        job()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()


def measure(output: Path, device: str, tiny: bool, seconds: float) -> None:
    """Measure what there is time for.

    Args:
        output: The JSON file; rewritten after every job.
        device: Where to.
        tiny: A small model, to see that everything runs; not a result.
        seconds: When to stop.
    """
    shape = jobs.TINY if tiny else jobs.LARGE
    dtype = torch.bfloat16
    clock = Clock(output, seconds, device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "cpu"
    clock.found |= {"device": name, "torch": torch.__version__, "peft": version("peft"),
                    "weights": shape.weights, "width": shape.width, "layers": shape.layers,
                    "commit": source_commit() or "uncommitted", "dtype": "bfloat16", "tiny": tiny,
                    "low_rank_share": jobs.low_rank_share(shape, jobs.EXPERTS * jobs.RANK),
                    "tokens": {}}  # fmt: skip
    model = jobs.gated(shape, device, dtype)
    plain = jobs.base(shape, device, dtype)
    theirs: Any = None
    for tokens in _TOKENS:
        users = jobs.users_of(model, shape, _USERS, tokens, device)
        named = {
            "ours": jobs.fused(model, users),
            "un-adapted batch": jobs.un_adapted(plain, users),
            "fused route": jobs.fused(model, users, "fused"),
            "merged route": jobs.fused(model, users, "merged"),
            "ours one by one": jobs.one_user_at_a_time(model, users),
        }
        into = {"base_flops": jobs.batch_flops(shape, _USERS, tokens)}
        clock.found["tokens"][str(tokens)] = into | {"seconds": {}, "largest_difference": {}}
        _time_all(clock, named, named["ours"], clock.found["tokens"][str(tokens)])
    for tokens in _TOKENS:
        users = jobs.users_of(model, shape, _USERS, tokens, device)
        theirs = jobs.peft_model(model, shape, users) if theirs is None else theirs
        named = {
            "peft mixed batch": jobs.peft_mixed(theirs, users),
            "peft one by one": jobs.peft_one_by_one(theirs, users),
        }
        _time_all(clock, named, jobs.fused(model, users), clock.found["tokens"][str(tokens)])


def _time_all(
    clock: Clock, named: dict[str, jobs.Job], ours: jobs.Job, into: dict[str, Any]
) -> None:
    own = ours()
    for label, job in named.items():
        if clock.left < 0:
            return
        answers = job()
        if answers is not None and own is not None:
            into["largest_difference"][label] = float((answers - own).abs().max())
        first = clock.seconds(job)
        repeats = max(1, min(_REPEATS, int(clock.left / 8 / max(first, 1e-6))))
        into["seconds"][label] = [first, *(clock.seconds(job) for _ in range(repeats - 1))]
        clock.save()


def convert(measured: Path, commit: str | None, folder: Path) -> list[Path]:
    """Write the benchmarks of a file: ``gpu_gated_lora_<tokens>_against_<peer>``.

    A peer whose answers are far from ours did other work, so its time is left out.

    Args:
        measured: What :func:`measure` wrote.
        commit: The commit that was measured, where the file does not say.
        folder: The results folder.

    Raises:
        ArtifactError: The file is of another kind, of a trial, or nobody knows the commit.
    """
    found = read_json(measured)
    if not isinstance(found, dict) or "low_rank_share" not in found or found["tiny"]:
        raise ArtifactError(f"{measured} is not what this script measures on an accelerator.")
    commit = commit or (None if found["commit"] == "uncommitted" else found["commit"])
    if commit is None:
        raise ArtifactError(f"{measured} does not say which commit was measured; give --commit.")
    write_json(folder / BENCHMARKS / "details" / "gpu_gated_lora.json", found)
    return [
        write_record(_benchmark(found, tokens, label, commit), folder)
        for tokens, figures in found["tokens"].items()
        for label in figures["seconds"]
        if label != "ours" and figures["largest_difference"].get(label, 0.0) <= _TOLERANCE
    ]


def _benchmark(found: dict[str, Any], tokens: str, label: str, commit: str) -> Benchmark:
    seconds = found["tokens"][tokens]["seconds"]
    about = ("weights", "width", "layers", "dtype", "torch", "low_rank_share")
    setting = {name: found[name] for name in about} | {
        "users": _USERS,
        "tokens": int(tokens),
        "experts": jobs.EXPERTS,
        "rank": jobs.RANK,
        "targets": " ".join(jobs.TARGETS),
    }
    tool = f"peft {found['peft']}" if "peft" in label else f"torch {found['torch']}"
    return Benchmark(
        benchmark=f"gpu_gated_lora_{tokens}_against_{label.replace(' ', '_').replace('-', '_')}",
        setting=setting,
        ours=Timing(seconds=statistics.median(seconds["ours"])),
        peer=PeerTiming(seconds=statistics.median(seconds[label]), name=label, version=tool),
        ratio=Spread(**record.ratio(seconds["ours"], seconds[label])),
        ceiling_share=None,
        machine=found["device"],
        commit=commit,
    )


def main() -> None:
    """Measure, or record what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="not a result")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--record", type=Path, metavar="MEASURED")
    parser.add_argument("--commit", help="what was measured, where the file does not say")
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    if (given.output is None) == (given.record is None):
        parser.error("give either --output, to measure, or --record.")
    if given.output is not None:
        measure(given.output, given.device, given.tiny, given.seconds)
        return
    for path in convert(given.record, given.commit, given.folder):
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
