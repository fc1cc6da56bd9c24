"""Measure ours against RecTools and RecBole in one run on one machine.

Each measurement is a process of its own; ours and theirs take turns. Needs the peers' environment
(``make bench-peers`` makes it). Whole epochs of the peers take minutes each: see the README beside
this file. Nothing else should run on the machine meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ceiling
import compare
import prepared
import quality
import record
from setting import Setting, from_json

from llmrec.data import leave_one_out
from llmrec.data.named import load_dataset
from llmrec.storage import read_json

HERE = Path(__file__).parent
PEER_PYTHON = HERE.parents[1] / ".venv-peers" / "bin" / "python"
# RecBole is judged by the faster batch size for its evaluation; its default is measured as well.
SCRIPTS: dict[str, tuple[Path, str, list[str]]] = {
    "ours": (Path(sys.executable), "ours_sasrec.py", []),
    "rectools": (PEER_PYTHON, "peer_rectools.py", []),
    "recbole": (PEER_PYTHON, "peer_recbole.py", []),
    "recbole_default": (PEER_PYTHON, "peer_recbole.py", ["--eval-batch-size", "4096"]),
}


def turns(ours: int, peers: Sequence[str], rounds: int) -> list[str]:
    """Order of the measurements: peers in alternating order, ours spread evenly between them.

    >>> turns(3, ["a", "b"], 1)
    ['ours', 'a', 'ours', 'b', 'ours']
    """
    theirs: list[str] = []
    for number in range(rounds):
        theirs += peers if number % 2 == 0 else reversed(peers)
    slots = len(theirs) + 1
    order: list[str] = []
    for slot in range(slots):
        order += ["ours"] * ((slot + 1) * ours // slots - slot * ours // slots)
        order += theirs[slot : slot + 1]
    return order


class Bench:
    """Runs the timed scripts.

    Args:
        data: The prepared events.
        setting: The common setting.
        extra: Arguments for every script.
    """

    def __init__(self, data: Path, setting: Setting, extra: Sequence[str] = ()) -> None:
        self.data, self.setting, self.extra = data, setting, list(extra)

    def run(self, label: str, task: str, extra: Sequence[str] = ()) -> dict[str, Any]:
        """Run one script in a fresh process and return what it measured."""
        python, script, own = SCRIPTS[label]
        out = self.data.parent / f"{label}-{task}.json"
        command = [python, HERE / script, task, "--data", self.data, "--out", out]
        command += ["--setting", self.setting.as_json(), *own, *self.extra, *extra]
        print(f"{label}: {task} ...", end=" ", flush=True)
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"\n{script} {task} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = read_json(out)
        for section in ("epoch", "train", "recommend"):
            if section in result:
                print(f"{section} {result[section]['seconds']:.2f} s", end=" ")
        print(flush=True)
        return result

    def repeat(
        self, task: str, ours: int, peers: Sequence[str], rounds: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Measure in turns; results by label."""
        runs: dict[str, list[dict[str, Any]]] = {"ours": [], **{peer: [] for peer in peers}}
        for label in turns(ours, peers, rounds):
            runs[label].append(self.run(label, task))
        return runs


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["epoch", "rank", "quality"], action="append")
    parser.add_argument("--peers", nargs="+", default=["rectools", "recbole"])
    parser.add_argument("--ours-repeats", type=int, default=3)
    parser.add_argument("--peer-repeats", type=int, default=1, help="epochs of each peer")
    parser.add_argument("--rank-repeats", type=int, default=3, help="rankings of each peer")
    parser.add_argument("--seconds", type=float, default=300.0, help="equal training time")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--setting", default="{}", help="JSON that overrides the common setting")
    parser.add_argument("--dataset", default="amazon-beauty")
    parser.add_argument("--max-batches", type=int, help="smoke run: extrapolate an epoch")
    parser.add_argument("--max-users", type=int, help="smoke run: the first users only")
    parser.add_argument("--out", type=Path, default=record.RESULTS, help="results folder")
    arguments = parser.parse_args()
    smoke = arguments.max_batches is not None or arguments.max_users is not None
    if smoke and arguments.out == record.RESULTS:
        parser.error("a smoke run is not a result; name another folder with --out.")
    return arguments


def main() -> None:
    """Measure and write the records."""
    arguments = parse_arguments()
    if not PEER_PYTHON.exists():
        raise SystemExit("the peers' environment is missing; run make -C eval/benchmarks peers.")
    setting = from_json(arguments.setting)
    wanted = arguments.only or ["epoch", "rank", "quality"]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "events.parquet"
        split = leave_one_out(load_dataset(arguments.dataset))
        prepared.write_events(split, data, arguments.max_users)
        cut = arguments.max_batches
        bench = Bench(data, setting, [] if cut is None else ["--max-batches", str(cut)])
        needed = compare.Needed(data, setting, ceiling.measure(setting.threads))
        written = [path for name in wanted for path in _MEASURE[name](bench, needed, arguments)]
    for path in written:
        print(f"written: {path.name}")


def _epoch(bench: Bench, needed: compare.Needed, arguments: argparse.Namespace) -> list[Path]:
    runs = bench.repeat("epoch", arguments.ours_repeats, arguments.peers, arguments.peer_repeats)
    return compare.write_comparison("sasrec_epoch", "epoch", runs, needed, arguments.out)


def _rank(bench: Bench, needed: compare.Needed, arguments: argparse.Namespace) -> list[Path]:
    peers = list(arguments.peers)
    if "recbole" in peers:
        peers.append("recbole_default")
    runs = bench.repeat("recommend", arguments.ours_repeats, peers, arguments.rank_repeats)
    return compare.write_comparison("rank_catalogue", "recommend", runs, needed, arguments.out)


def _quality(bench: Bench, needed: compare.Needed, arguments: argparse.Namespace) -> list[Path]:
    runs, found = {}, {}
    for label in ["ours", *arguments.peers]:
        lists = bench.data.parent / f"{label}-lists.parquet"
        budget = ["--seconds", str(arguments.seconds), "--part", arguments.part]
        runs[label] = bench.run(label, "train", [*budget, "--lists", str(lists)])
        found[label] = {"part": arguments.part}
        found[label] |= quality.judge(bench.data, lists, arguments.part)
        print(f"{label}: ndcg@10 {found[label]['ndcg@10']:.4f}", flush=True)
    return compare.write_quality(runs, found, arguments.out)


_MEASURE = {"epoch": _epoch, "rank": _rank, "quality": _quality}


if __name__ == "__main__":
    main()
