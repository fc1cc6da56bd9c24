"""Where should the walks of selective answering start? Judged without the test part.

    python eval/conformal_starts.py          # about six minutes on one core
    python eval/conformal_starts.py --draws 20 --splits 10 --small   # a try

Every rule of :data:`RULES` sees the same simulated samples and the same splits of real items: those
of the subjects that LOS-Net of ``conformal.py`` learns from. Here it learns from half of them and
judges the others. The rule to take is the one that answers most on real items, both scores
together, among those whose promise no simulated setting breaks more often than ``DELTA`` and two
standard errors. Written to ``eval/results/signatures/decisions/starts.json``.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conformal import ALPHAS, DELTA, OUTPUT, Truth, truth_of_items, truth_of_shape
from conformal_items import RECIPE, SHAPES, Cell, Values, cells
from pydantic import BaseModel, ConfigDict
from record import committed_state

from llmrec.data.named import data_home
from llmrec.errors import run_script
from llmrec.runs.environment import hardware
from llmrec.signatures.decision.selective import certify
from llmrec.storage import write_json

RULES = ((0.1,), (0.2,), (0.3,), (0.2, 0.5), (0.1, 0.3), (0.1, 0.3, 0.6), (0.2, 0.4, 0.7))

Figures = dict[tuple[tuple[float, ...], float], tuple[float, float]]
"""By rule and target error: mean coverage, and share of samples in which it is broken."""


class StartsRow(BaseModel):
    """One rule at one target error.

    Attributes:
        starts: The rule.
        alpha: Target error.
        simulated_coverage: Mean over shapes and numbers of items.
        simulated_broken: Share of samples that break the promise where most do.
        coverage: Of LOS-Net, mean over cells of real items.
        p_max_coverage: Of the best probability alone.
        broken: Share of splits of real items that break the promise where most do, of both scores.
        cells_below: Cells in which LOS-Net answers less than the best probability alone.
    """

    model_config = ConfigDict(extra="forbid")

    starts: tuple[float, ...]
    alpha: float
    simulated_coverage: float
    simulated_broken: float
    coverage: float
    p_max_coverage: float
    broken: float
    cells_below: int


class StartsFigures(BaseModel):
    """The whole file.

    Attributes:
        taken: The rule that the module says to take.
    """

    model_config = ConfigDict(extra="forbid")

    figure: str
    delta: float
    draws: int
    splits: int
    n: int
    taken: tuple[float, ...]
    rows: list[StartsRow]
    commit: str
    hardware: str


def main() -> None:
    """Read the arguments, compare the rules, write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000, help="simulated samples")
    parser.add_argument("--splits", type=int, default=200, help="random splits of real items")
    parser.add_argument("--n", type=int, default=1000, help="real items to calibrate on")
    parser.add_argument("--small", action="store_true", help="one cell, few epochs")
    parser.add_argument("--output", type=Path, default=OUTPUT.with_name("starts.json"))
    parser.add_argument("--risks", type=Path, help="folder to keep the risks of real items in")
    arguments = parser.parse_args()
    home = data_home()
    commit = "a try"
    if not arguments.small:
        commit = committed_state(RECIPE, Path(__file__))
    drawn = list(simulated(arguments.draws))
    found = []
    for cell in cells(home, "learnt", arguments.risks, arguments.small):
        found.append(judged(cell, arguments.splits, arguments.n))
        print(f"{cell.name}: done", flush=True)
    rows = [_row(starts, alpha, drawn, found) for starts in RULES for alpha in ALPHAS]
    figures = StartsFigures(
        figure="starts",
        delta=DELTA,
        draws=arguments.draws,
        splits=arguments.splits,
        n=arguments.n,
        taken=chosen(rows, arguments.draws),
        rows=rows,
        commit=commit,
        hardware=hardware(),
    )
    write_json(arguments.output, figures.model_dump(mode="json"))
    print(f"{figures.taken}, saved in {arguments.output}")


def chosen(rows: Sequence[StartsRow], draws: int) -> tuple[float, ...]:
    """The rule to take, as the module says."""
    most = DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / draws)
    by_rule: dict[tuple[float, ...], list[StartsRow]] = {}
    for row in rows:
        by_rule.setdefault(row.starts, []).append(row)
    sound = [s for s, own in by_rule.items() if all(one.simulated_broken <= most for one in own)]

    def answered(starts: tuple[float, ...]) -> float:
        return sum(row.coverage + row.p_max_coverage for row in by_rule[starts])

    return max(sound, key=answered)


def simulated(draws: int, sizes: tuple[int, ...] = (200, 1000)) -> Iterator[Figures]:
    """Figures of every shape and number of items."""
    for shape in SHAPES:
        for n in sizes:
            rng = np.random.default_rng([n, 41])
            samples = []
            for _ in range(draws):
                risks = rng.random(n)
                samples.append((risks, (rng.random(n) < shape.error(risks)).astype(np.float64)))
            yield _of_samples(samples, truth_of_shape(shape))


def judged(cell: Cell, splits: int, n: int) -> dict[str, Figures]:
    """Figures of both scores on the same splits of a cell."""
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(cell.labels.size)[:n] for _ in range(splits)]
    return {
        score: _of_samples(
            [(risks[use], cell.labels[use]) for use in drawn],
            truth_of_items(risks, cell.labels),
        )
        for score, risks in cell.scores.items()
    }


def _of_samples(samples: Sequence[tuple[Values, Values]], truth: Truth) -> Figures:
    found = {}
    for starts in RULES:
        for alpha in ALPHAS:
            limits = [
                certify(risks, labels, alpha, DELTA, starts=starts).threshold
                for risks, labels in samples
            ]
            shares = [(0.0, 0.0) if limit is None else truth(limit) for limit in limits]
            covered, wrong = np.array(shares).T
            broken = wrong > (alpha + 1e-9) * covered
            found[starts, alpha] = float(covered.mean()), float(broken.mean())
    return found


def _row(
    starts: tuple[float, ...],
    alpha: float,
    drawn: Sequence[Figures],
    found: Sequence[dict[str, Any]],
) -> StartsRow:
    key = starts, alpha
    own, other = ([one[score][key] for one in found] for score in ("LOS-Net", "p-max"))
    return StartsRow(
        starts=starts,
        alpha=alpha,
        simulated_coverage=round(float(np.mean([one[key][0] for one in drawn])), 5),
        simulated_broken=round(max(one[key][1] for one in drawn), 5),
        coverage=round(float(np.mean([covered for covered, _ in own])), 5),
        p_max_coverage=round(float(np.mean([covered for covered, _ in other])), 5),
        broken=round(max(broken for _, broken in [*own, *other]), 5),
        cells_below=sum(a[0] < b[0] for a, b in zip(own, other, strict=True)),
    )


if __name__ == "__main__":
    run_script(main)
