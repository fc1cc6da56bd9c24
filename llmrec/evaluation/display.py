"""How numbers and foreign text are shown, the same on the terminal and in the report.

Titles and ids are foreign text: :func:`plain` makes one short line of them in which nothing can
act on the surroundings. Escaping for HTML is the template's task, not done here.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmrec.evaluation.metrics import FAMILIES
from llmrec.evaluation.outcome import Figure
from llmrec.evaluation.protocol import Protocol
from llmrec.evaluation.report_data import ReportRun
from llmrec.metric_direction import higher_is_better

Mark = Literal["best", "tie", ""]


@dataclass(frozen=True)
class Cell:
    """One figure of a table, as text.

    Attributes:
        mean: The mean, or ``"–"`` where there is none.
        interval: ``"0.0812–0.0934"``, or empty.
        mark: ``"best"``; ``"tie"`` where the interval overlaps that of the best; or empty.
    """

    mean: str
    interval: str = ""
    mark: Mark = ""


def plain(value: object, limit: int = 90) -> str:
    r"""Turn any value into one visible line of at most ``limit`` characters.

    Control and direction-changing characters become blanks, since one of them could reorder or
    hide the text around it.

    >>> plain("a\u202eb\n<i>")
    'a b <i>'
    """
    text = str(value)[: 4 * limit]
    visible = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)
    line = " ".join(visible.split())
    shortened = len(line) > limit or len(str(value)) > 4 * limit
    return f"{line[: limit - 1].rstrip()}…" if shortened else line


def is_descriptive(metric: str) -> bool:
    """Whether a metric describes the lists rather than how good they are, and so has no best."""
    return FAMILIES.get(metric.split("@")[0]) == "list"


def decimals_for(values: Iterable[float]) -> int:
    """Decimals that suit all values of one column: four below 1, fewer for large numbers."""
    largest = max((abs(value) for value in values), default=0.0)
    return 4 if largest < 2 else 3 if largest < 20 else 2 if largest < 1000 else 0


def count(value: int) -> str:
    """Write a whole number with thousands set apart: ``22,363``."""
    return f"{value:,}"


def percent(share: float) -> str:
    """Write a share with one decimal, or two below one per cent."""
    return f"{100 * share:.{2 if 0 < share < 0.01 else 1}f} %"


def metric_names(runs: Sequence[ReportRun]) -> list[str]:
    """Every metric that some run has, in the order of the first run that has it."""
    return list(dict.fromkeys(name for run in runs for name in run.evaluation.metrics))


def metric_cells(runs: Sequence[ReportRun], metric: str) -> list[Cell]:
    """One column of the metric table, with the same number of decimals throughout."""
    return figure_cells([run.evaluation.metrics.get(metric) for run in runs], metric)


def figure_cells(figures: Sequence[Figure | None], metric: str) -> list[Cell]:
    """Figures of one metric as text, best and ties marked; see :class:`Cell`."""
    means = [figure.mean for figure in figures if figure is not None and figure.mean is not None]
    decimals = decimals_for(means)
    best = best_figure(figures, metric)
    return [_cell(figure, best, decimals) for figure in figures]


def best_figure(figures: Sequence[Figure | None], metric: str) -> Figure | None:
    """The figure with the best mean; None for descriptive metrics and where all are equal."""
    judged = [figure for figure in figures if figure is not None and figure.mean is not None]
    if len({figure.mean for figure in judged}) < 2 or is_descriptive(metric):
        return None
    sign = 1 if higher_is_better(metric) else -1
    return max(judged, key=lambda figure: sign * (figure.mean or 0.0))


def mark_of(figure: Figure, best: Figure | None) -> Mark:
    """Best, tied with the best because the intervals overlap, or neither."""
    if best is None or figure.mean is None:
        return ""
    if figure is best or figure.mean == best.mean:
        return "best"
    if figure.ci95 is None or best.ci95 is None:
        return ""
    overlap = figure.ci95[0] <= best.ci95[1] and best.ci95[0] <= figure.ci95[1]
    return "tie" if overlap else ""


def _cell(figure: Figure | None, best: Figure | None, decimals: int) -> Cell:
    if figure is None or figure.mean is None:
        return Cell("–")
    low_high = "" if figure.ci95 is None else interval(figure.ci95, decimals)
    return Cell(f"{figure.mean:.{decimals}f}", low_high, mark_of(figure, best))


def interval(ends: Sequence[float], decimals: int, signed: bool = False) -> str:
    """Write an interval as ``low–high``, or ``low to high`` where the ends carry signs."""
    low, high = ends
    if signed:
        return f"{low:+.{decimals}f} to {high:+.{decimals}f}".replace("-", "−")
    return f"{low:.{decimals}f}–{high:.{decimals}f}"


def protocol_sentence(protocol: Protocol) -> str:
    """Say in one sentence how the figures were obtained."""
    pairs = protocol.candidates == "pairs"
    words = [
        "Each model scores the judged pairs" if pairs else "Each model ranks the full catalogue"
    ]
    if not pairs:
        kept = "left out" if protocol.filter_seen else "not left out"
        words.append(f"items already seen {kept}")
    if protocol.history_length is not None:
        words.append(f"given the newest {count(protocol.history_length)} events of a user")
    held_out = "test" if protocol.part == "test" else "validation"
    words.append(f"judged on the {held_out} part of the split {plain(protocol.split.name, 40)}")
    if protocol.limit is not None:
        words.append(f"for {count(protocol.limit)} sampled cases")
    return f"{', '.join(words)}."
