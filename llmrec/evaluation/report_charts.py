"""Where every mark of a chart stands: the arithmetic behind the drawings of the report.

Each function turns numbers into a description of ``report_shapes``, which a template draws. Nothing
here writes markup, so text is escaped in one place only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmrec.evaluation.report_shapes import (
    WIDTH,
    Bar,
    BarChart,
    Frame,
    IntervalChart,
    IntervalRow,
    Line,
    LineChart,
    Named,
    Point,
    Tick,
    Value,
)

_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 10.0, 12.0, 46.0
_LABEL_GAP = 14.0
_MOST_POINTS = 160


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover ``low .. high``, at most ``most + 1`` of them.

    >>> nice_ticks(0.0, 0.093)
    [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]
    """
    if not high > low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(number * step, digits) + 0.0 for number in range(first, last + 1)]


def line_chart(
    title: str, series: Sequence[Named], x_title: str, y_title: str, markers: bool = False
) -> LineChart:
    """Draw lines over a number, such as the loss over optimiser steps.

    Values that are not finite leave no point; long series are averaged to 160 points each.

    Args:
        title: What is shown.
        series: One entry per model.
        x_title: What the number is.
        y_title: What is drawn over it.
        markers: Mark every value, with its interval, and draw the line thin.
    """
    series = [Named(one.index, one.name, _thinned(one.values)) for one in series]
    values = [value for one in series for value in one.values]
    x_marks = nice_ticks(min(v.x for v in values), max(v.x for v in values), 4)
    right = WIDTH - _label_room(series)
    y, y_ticks = _y_axis(values, 240.0, from_zero=False)
    x = _Scale(x_marks[0], x_marks[-1], _LEFT, right)
    ticks = tuple(Tick(x(mark), _compact(mark)) for mark in x_marks)
    frame = Frame(_LEFT, right, _TOP, y.start, 240.0, ticks, y_ticks, x_title, y_title)
    return LineChart(title, frame, _spread(_lines(series, x, y, markers), frame))


def category_chart(
    title: str,
    series: Sequence[Named],
    labels: Sequence[Sequence[str]],
    x_title: str,
    y_title: str,
) -> LineChart:
    """Draw means with intervals over categories; ``x`` of a value is the category's number.

    Args:
        title: What is shown.
        series: One entry per model; the models stand a little apart so that intervals do not hide
            one another.
        labels: Lines of text below every category: its name, then notes.
        x_title: What the categories are.
        y_title: The metric.
    """
    right = WIDTH - _label_room(series)
    width = (right - _LEFT) / len(labels)
    below = 34.0 + 13.0 * max(len(texts) for texts in labels)
    height = 200.0 + below
    y, y_ticks = _y_axis([v for one in series for v in one.values], height, True, bottom=below)
    apart = min(9.0, 0.5 * width / max(1, len(series)))
    lines: list[Line] = []
    for place, one in enumerate(series):
        shift = (place - (len(series) - 1) / 2) * apart
        x = _Scale(0, len(labels), _LEFT + width / 2 + shift, right + width / 2 + shift)
        lines += _lines([one], x, y, markers=True)
    ticks = tuple(
        Tick(round(_LEFT + width * (number + 0.5), 1), texts[0], tuple(texts[1:]))
        for number, texts in enumerate(labels)
    )
    frame = Frame(_LEFT, right, _TOP, y.start, height, ticks, y_ticks, x_title, y_title)
    return LineChart(title, frame, _spread(lines, frame))


def bar_chart(
    title: str, series: Sequence[Named], labels: Sequence[str], x_title: str, y_title: str
) -> BarChart:
    """Draw grouped columns of shares (0 to 1); ``x`` of a value is the category's number."""
    right = WIDTH - _RIGHT
    width = (right - _LEFT) / len(labels)
    y, y_ticks = _y_axis([v for one in series for v in one.values], 240.0, True, percent=True)
    thick = min(22.0, 0.78 * width / max(1, len(series)))
    bars = []
    for place, one in enumerate(series):
        for value in one.values:
            middle = _LEFT + width * (value.x + 0.5)
            x = round(middle + (place - len(series) / 2) * thick, 1)
            tip = f"{one.name}, {labels[int(value.x)]}: {100 * value.mean:.1f} %"
            top = y(value.mean)
            bars.append(Bar(one.index, x, top, round(thick - 1, 1), round(y.start - top, 1), tip))
    ticks = tuple(
        Tick(round(_LEFT + width * (n + 0.5), 1), label) for n, label in enumerate(labels)
    )
    frame = Frame(_LEFT, right, _TOP, y.start, 240.0, ticks, y_ticks, x_title, y_title)
    return BarChart(title, frame, tuple(bars))


def interval_chart(
    title: str, rows: Sequence[tuple[Named, str]], x_title: str, zero_line: bool = False
) -> IntervalChart:
    """Draw one dot with its interval per row.

    Args:
        title: What is shown.
        rows: One value under a name, and its text; the value's ``x`` is not used.
        x_title: The metric or difference on the axis.
        zero_line: Mark zero, for differences; the axis otherwise starts at zero.
    """
    values = [named.values[0] for named, _ in rows]
    lows, highs = _ends(values)
    marks = nice_ticks(min([0.0, *lows]), max([0.0, *highs]), 4)
    left, right, pitch = 12.0, WIDTH - 14.0, 44.0
    x = _Scale(marks[0], marks[-1], left, right)
    bottom = 8.0 + pitch * len(rows)
    drawn = tuple(
        IntervalRow(
            named.index, named.name, text, 8.0 + pitch * place + 30.0, x(value.mean),
            None if value.low is None else x(value.low),
            None if value.high is None else x(value.high),
        )
        for place, ((named, text), value) in enumerate(zip(rows, values, strict=True))
    )  # fmt: skip
    ticks = tuple(Tick(x(mark), _compact(mark)) for mark in marks)
    zero = x(0.0) if zero_line else None
    frame = Frame(left, right, 8.0, bottom, bottom + 40.0, ticks, (), x_title, "", zero)
    return IntervalChart(title, frame, drawn)


def _y_axis(
    values: Sequence[Value], height: float, from_zero: bool, percent: bool = False,
    bottom: float = _BOTTOM,
) -> tuple[_Scale, tuple[Tick, ...]]:  # fmt: skip
    lows, highs = _ends(values)
    marks = nice_ticks(0.0 if from_zero and min(lows) >= 0 else min(lows), max(highs), 4)
    scale = _Scale(marks[0], marks[-1], height - bottom, _TOP)
    ticks = tuple(Tick(scale(m), f"{100 * m:g} %" if percent else _compact(m)) for m in marks)
    return scale, ticks


def _ends(values: Sequence[Value]) -> tuple[list[float], list[float]]:
    lows = [value.mean if value.low is None else value.low for value in values]
    highs = [value.mean if value.high is None else value.high for value in values]
    return lows or [0.0], highs or [1.0]


def _lines(series: Sequence[Named], x: _Scale, y: _Scale, markers: bool) -> tuple[Line, ...]:
    lines = [
        Line(
            one.index,
            one.name,
            tuple(
                Point(
                    x(value.x), y(value.mean),
                    None if value.low is None else y(value.low),
                    None if value.high is None else y(value.high),
                    f"{one.name}: {value.mean:.4g}",
                )
                for value in one.values
            ),
            y(one.values[-1].mean),
            markers,
        )
        for one in series
        if one.values
    ]  # fmt: skip
    return tuple(lines)


def _spread(lines: Sequence[Line], frame: Frame) -> tuple[Line, ...]:
    """Move the names at the right end apart so that none covers another."""
    order = sorted(range(len(lines)), key=lambda number: lines[number].label_y)
    places: dict[int, float] = {}
    lowest = frame.top
    for number in order:
        places[number] = max(lines[number].label_y, lowest)
        lowest = places[number] + _LABEL_GAP
    over = max(0.0, lowest - _LABEL_GAP - frame.bottom)
    return tuple(
        Line(line.index, line.name, line.points, round(places[number] - over, 1), line.markers)
        for number, line in enumerate(lines)
    )


def _label_room(series: Sequence[Named]) -> float:
    longest = max((len(one.name) for one in series), default=0)
    return min(130.0, 18.0 + 6.6 * longest)


def _thinned(values: Sequence[Value]) -> tuple[Value, ...]:
    """Drop what is not finite and average neighbours until at most ``_MOST_POINTS`` remain."""
    finite = [value for value in values if math.isfinite(value.mean)]
    size = math.ceil(len(finite) / _MOST_POINTS) or 1
    blocks = [finite[start : start + size] for start in range(0, len(finite), size)]
    return tuple(
        Value(block[-1].x, sum(value.mean for value in block) / len(block)) for block in blocks
    )


def _compact(value: float) -> str:
    """Write a tick: ``0.02``, ``40``, ``2k``; a true minus sign."""
    if abs(value) >= 10000 or (abs(value) >= 1000 and value % 100 == 0):
        return f"{value / 1000:g}k".replace("-", "−")
    return f"{value:g}".replace("-", "−")
