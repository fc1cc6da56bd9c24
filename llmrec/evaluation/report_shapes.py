"""What a chart consists of: frozen descriptions in the units of an SVG view box.

``report_charts`` computes them and ``templates/charts.svg.j2`` draws them. A view box is ``WIDTH``
wide, y points down, and a colour is the index of a model.
"""

from dataclasses import dataclass

WIDTH = 440.0


@dataclass(frozen=True)
class Tick:
    """A labelled position; ``notes`` are lighter lines below the label."""

    at: float
    label: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """The plotting area and its axes.

    Attributes:
        x_line: Position of a reference line (zero), or None.
    """

    left: float
    right: float
    top: float
    bottom: float
    height: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str
    y_title: str
    x_line: float | None = None


@dataclass(frozen=True)
class Point:
    """A value and, where it has an interval, the ends of its whisker."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str = ""


@dataclass(frozen=True)
class Line:
    """The points of one model; ``label_y`` is where its name stands at the right end."""

    index: int
    name: str
    points: tuple[Point, ...]
    label_y: float
    markers: bool

    @property
    def path(self) -> str:
        """The line through the points, as SVG path data."""
        return "M" + "L".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class LineChart:
    """Lines over a number or over categories."""

    title: str
    frame: Frame
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Bar:
    """One column of a bar chart."""

    index: int
    x: float
    y: float
    width: float
    height: float
    tip: str


@dataclass(frozen=True)
class BarChart:
    """Groups of columns, one column per model in each."""

    title: str
    frame: Frame
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class IntervalRow:
    """A dot with its interval; ``label`` is written above it."""

    index: int
    name: str
    label: str
    y: float
    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class IntervalChart:
    """One row per model: mean and 95 % interval on a common scale."""

    title: str
    frame: Frame
    rows: tuple[IntervalRow, ...]


@dataclass(frozen=True)
class Value:
    """A number to draw: position on the x axis, mean, ends of the interval."""

    x: float
    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Named:
    """What one model contributes to a chart."""

    index: int
    name: str
    values: tuple[Value, ...]
