"""How often does the drift alarm ring where nothing changed, and does it where something did?

    python eval/drift_alarm.py          # two minutes on one core

Simulated: records drawn from one source. Real: the answer letters of ``mcq-logprobs``, one cell per
LLM and mode; reference and new records are drawn from the same cell. What changed is: half of the
values per position, a temperature of 1.5 on the server, another mode of asking, another LLM.
Changes of the fingerprint, which always alarm, are not counted. Written to
``eval/results/signatures/decisions/drift.json``.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from conformal_items import MODELS, MODES
from pydantic import BaseModel, ConfigDict
from record import committed_state

from llmrec.data.named import data_home
from llmrec.errors import run_script
from llmrec.inference.signature import SignatureRecord, tail_logmass
from llmrec.runs.environment import hardware
from llmrec.signatures.drift import DriftReference
from llmrec.signatures.readers import read_token_table
from llmrec.storage import write_json
from llmrec.testing.signatures import labelled_signatures

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "eval" / "results" / "signatures" / "decisions" / "drift.json"
LEVELS = (0.01, 0.05)
REFERENCE = 1000

Records = Sequence[SignatureRecord]


class DriftRow(BaseModel):
    """How often the alarm rings in one setting.

    Attributes:
        source: ``simulated`` or ``real``.
        name: Where the reference comes from.
        change: What is different about the new records; ``none`` for false alarms.
        level: Largest probability of a false alarm that was asked for.
        n: New records per check.
        checks: How many checks.
        alarms: Share of them that alarm.
    """

    model_config = ConfigDict(extra="forbid")

    source: Literal["simulated", "real"]
    name: str
    change: str
    level: float
    n: int
    checks: int
    alarms: float


class DriftFigures(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    figure: Literal["drift"]
    reference: int
    rows: list[DriftRow]
    commit: str
    hardware: str


def main() -> None:
    """Read the arguments, make the figures, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checks", type=int, default=200, help="checks per setting")
    parser.add_argument("--n", type=int, default=200, help="new records per check")
    parser.add_argument("--small", action="store_true", help="one cell, for a try")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    home = data_home()
    commit = "a try" if arguments.small else committed_state(Path(__file__))
    rows = list(simulated(arguments.checks, arguments.n))
    rows += real(home, arguments.checks, arguments.n, arguments.small)
    found = DriftFigures(
        figure="drift", reference=REFERENCE, rows=rows, commit=commit, hardware=hardware()
    )
    write_json(arguments.output, found.model_dump(mode="json"))
    print(f"saved in {arguments.output}")


def simulated(checks: int, n: int) -> Iterator[DriftRow]:
    """Records of up to three positions, drawn from one source."""
    records, _ = labelled_signatures(8000, 0, lengths=(1, 3))
    flatter, _ = labelled_signatures(2000, 1, lengths=(1, 3), contrast=12.0)
    yield from _rows("simulated", "drawn", "none", records, records, checks, n)
    yield from _rows("simulated", "drawn", "flatter", records, flatter, checks, n)
    yield from _rows("simulated", "drawn", "half of the values", records, half(records), checks, n)


def real(home: Path, checks: int, n: int, small: bool) -> Iterator[DriftRow]:
    """Every cell against itself and against what may become of it."""
    models, modes = (MODELS[:2], MODES[:2]) if small else (MODELS, MODES)
    cells: dict[tuple[str, str], Records] = {}
    for model in models:
        read = read_token_table(home / "mcq-logprobs" / f"{model}.csv.gz")
        for mode in modes:
            cells[model, mode] = read.set.where(pl.col("mode") == mode).records
    for place, (model, mode) in enumerate(cells):
        own = cells[model, mode]
        other_mode = cells[model, modes[1 - modes.index(mode)]]
        other_model = cells[models[(place // 2 + 1) % len(models)], mode]
        changed = {
            "none": own,
            "half of the values": half(own),
            "temperature 1.5": [warmer(record, 1.5) for record in own[:4000]],
            "another mode": other_mode,
            "another LLM": other_model,
        }
        for change, new in changed.items():
            yield from _rows("real", f"{model}, {mode}", change, own, new, checks, n)
        print(f"{model}, {mode}: done", flush=True)


def half(records: Records) -> list[SignatureRecord]:
    """Records of a server that sends half of the values."""
    found = []
    for record in records[:4000]:
        k = max(1, record.k // 2)
        kept = record.topk_logprobs[:, :k]
        changed = {"topk_logprobs": kept, "topk_valid": record.topk_valid[:, :k]}
        ids = None if record.topk_ids is None else record.topk_ids[:, :k]
        found.append(replace(record, **changed, topk_ids=ids, tail_logmass=tail_logmass(kept)))
    return found


def warmer(record: SignatureRecord, temperature: float) -> SignatureRecord:
    """A record of a server that divides by a temperature before it takes logarithms."""
    scaled = np.where(record.topk_valid, record.topk_logprobs / temperature, -np.inf)
    tail = record.tail_logmass / temperature
    total = np.logaddexp(np.logaddexp.reduce(scaled, axis=1), tail)
    values = np.where(record.topk_valid, scaled - total[:, None], record.topk_logprobs)
    return replace(
        record,
        topk_logprobs=values.astype(np.float32),
        tail_logmass=(tail - total).astype(np.float32),
    )


def _rows(
    source: Literal["simulated", "real"],
    name: str,
    change: str,
    before: Records,
    new: Records,
    checks: int,
    n: int,
) -> Iterator[DriftRow]:
    rng = np.random.default_rng(0)
    alarms = {level: 0 for level in LEVELS}
    for _ in range(checks):
        drawn = rng.permutation(len(before))
        reference = DriftReference.of([before[i] for i in drawn[:REFERENCE]])
        # nothing is on both sides where the new records come from the same place
        pool = drawn[REFERENCE:] if new is before else rng.permutation(len(new))
        part = [new[i] for i in pool[:n]]
        for level in LEVELS:
            found = reference.check(part, false_alarms=level)
            alarms[level] += any(feature.drifts for feature in found.features)
    for level, count in alarms.items():
        yield DriftRow(
            source=source, name=name, change=change, level=level, n=n, checks=checks,
            alarms=round(count / checks, 4),
        )  # fmt: skip


if __name__ == "__main__":
    run_script(main)
