"""The arithmetic of the drawings, against values worked out by hand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.evaluation.report_charts import (
    bar_chart,
    category_chart,
    interval_chart,
    line_chart,
    nice_ticks,
)
from llmrec.evaluation.report_shapes import WIDTH, Named, Value


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0.093, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (5, 5, [5, 6, 7, 8, 9, 10]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_cover_the_range_evenly_and_are_few(low, span):
    ticks = nice_ticks(low, low + span)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * step + 1e-9 * abs(low)
    assert ticks[-1] >= low + span - 1e-6 * step - 1e-9 * abs(low)
    assert 2 <= len(ticks) <= 8


def test_a_line_goes_through_its_points_on_the_drawn_scale():
    named = Named(0, "m", (Value(0, 0.0), Value(50, 1.0), Value(100, 2.0)))
    chart = line_chart("t", [named], "x", "y")
    left, middle, right = chart.lines[0].points
    frame = chart.frame
    assert (left.x, left.y) == (frame.left, frame.bottom)
    assert (right.x, right.y) == (frame.right, frame.top)
    assert middle.x == pytest.approx((frame.left + frame.right) / 2, abs=0.1)
    assert middle.y == pytest.approx((frame.top + frame.bottom) / 2, abs=0.1)
    assert chart.lines[0].path.startswith(f"M{left.x:.1f},{left.y:.1f}L")


def test_long_series_are_averaged_and_keep_their_mean_and_end():
    values = tuple(Value(step, float(step % 7)) for step in range(1600))
    points = line_chart("t", [Named(0, "m", values)], "x", "y").lines[0].points
    assert len(points) == 160
    frame = line_chart("t", [Named(0, "m", values)], "x", "y").frame
    assert frame.left < points[-1].x < frame.right  # steps 0 to 1599 on an axis up to 2000
    heights = [float(point.tip.split(": ")[1]) for point in points]
    assert sum(heights) / 160 == pytest.approx(sum(v.mean for v in values) / 1600, rel=1e-3)


def test_values_that_are_not_finite_leave_no_point():
    values = (Value(1, 1.0), Value(2, math.nan), Value(3, math.inf), Value(4, 2.0))
    assert len(line_chart("t", [Named(0, "m", values)], "x", "y").lines[0].points) == 2


def test_names_at_the_end_of_lines_do_not_cover_each_other():
    series = [Named(i, f"m{i}", (Value(0, 0.5), Value(1, 0.5 + i / 1000))) for i in range(5)]
    lines = line_chart("t", series, "x", "y").lines
    places = sorted(line.label_y for line in lines)
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(places))


def test_models_stand_apart_within_a_category_and_keep_their_whiskers():
    series = [Named(i, "m", (Value(0, 0.2, 0.1, 0.3), Value(1, 0.4, 0.2, 0.6))) for i in range(3)]
    chart = category_chart("t", series, [("a", "10"), ("b", "20")], "x", "y")
    first = [line.points[0] for line in chart.lines]
    assert first[0].x < first[1].x < first[2].x
    assert first[1].x == chart.frame.x_ticks[0].at
    assert all(p.high < p.y < p.low for line in chart.lines for p in line.points)  # y points down
    assert chart.frame.x_ticks[1].notes == ("20",)


def test_bars_are_proportional_to_their_shares_and_do_not_overlap():
    series = [Named(i, "m", (Value(0, 0.1), Value(1, 0.4))) for i in range(2)]
    bars = bar_chart("t", series, ["a", "b"], "x", "y").bars
    heights = {(bar.index, bar.tip.split(", ")[1]): bar.height for bar in bars}
    assert heights[0, "b: 40.0 %"] == pytest.approx(4 * heights[0, "a: 10.0 %"], abs=0.5)
    ordered = sorted(bars, key=lambda bar: bar.x)
    for left, right in itertools.pairwise(ordered):
        assert left.x + left.width <= right.x
    assert ordered[-1].x + ordered[-1].width <= WIDTH


def test_intervals_are_drawn_around_their_means_with_zero_in_place():
    rows = [
        (Named(0, "a", (Value(0, -0.1, -0.2, 0.05),)), "−0.1"),
        (Named(1, "b", (Value(0, 0.2),)), "+0.2"),
    ]
    chart = interval_chart("t", rows, "difference", zero_line=True)
    first, second = chart.rows
    assert first.low < first.x < chart.frame.x_line < first.high < second.x
    assert (second.low, second.high) == (None, None)
    zero = next(tick for tick in chart.frame.x_ticks if tick.label == "0")
    assert zero.at == chart.frame.x_line
