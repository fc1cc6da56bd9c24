"""Terminal tables: the same figures as stored, and nothing in a title can steer the terminal."""

import io

import polars as pl
import pytest
from report_fixture import catalog, evaluation, write_run
from rich.console import Console

from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.evaluation.console import metric_table, recommendation_table
from llmrec.evaluation.display import (
    decimals_for,
    figure_cells,
    higher_is_better,
    is_descriptive,
    percent,
    plain,
)
from llmrec.evaluation.outcome import Figure
from llmrec.evaluation.report_data import ReportRun


def printed(table, width=120) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(table)
    return stream.getvalue()


@pytest.fixture
def runs(tmp_path):
    found = [evaluation("pop", 1), evaluation("knn", 2)]
    return [ReportRun.from_directory(write_run(tmp_path / one.model, one)) for one in found]


def test_the_table_holds_every_mean_with_its_interval(runs):
    text = printed(metric_table(runs))
    for run in runs:
        for name in ("ndcg@10", "hit_rate@10"):
            figure = run.evaluation.metrics[name]
            low, high = figure.ci95
            assert f"{figure.mean:.4f}" in text
            assert f"{low:.4f}–{high:.4f}" in text
    assert "toy, test part, 40 users" in text


def test_three_models_fit_a_narrow_terminal(runs, tmp_path):
    third = ReportRun.from_directory(write_run(tmp_path / "third", evaluation("sasrec", 3)))
    text = printed(metric_table([*runs, third]), width=80)
    assert "…" not in text
    assert all(word in text for word in ("metric", "pop", "knn", "sasrec", "hit_rate@10"))


def test_the_table_can_be_limited_to_some_metrics(runs):
    assert "coverage" not in printed(metric_table(runs, ["ndcg@10"]))
    with pytest.raises(ConfigError, match="no run has the metric 'ndcg@5'; did you mean"):
        metric_table(runs, ["ndcg@5"])


def test_unlike_runs_are_refused(tmp_path, runs):
    other = write_run(tmp_path / "x", evaluation("x", 1, part="valid"))
    with pytest.raises(ProtocolError, match="part"):
        metric_table([*runs, ReportRun.from_directory(other)])


def test_recommendations_show_titles_and_mark_hits():
    lists = pl.DataFrame(
        {"user_id": [7, 7], "item_id": [20, 30], "score": [0.5, None], "rank": [1, 2]}
    )
    lines = printed(recommendation_table(lists, catalog(), targets=[30])).splitlines()
    assert any("7" in line and "Item number 19" in line and "0.5" in line for line in lines)
    assert any("Item number 29 (hit)" in line for line in lines)


def test_hostile_titles_are_printed_as_they_are():
    title = "[bold red]x[/] \x1b[2J\x07 \u202e evil [link=http://x]y[/link]"
    lists = pl.DataFrame(
        {"user_id": ["[/]"], "item_id": ["i"], "score": [1.0], "rank": [1], "title": [title]}
    )
    text = printed(recommendation_table(lists))
    assert "[bold red]x[/]" in text
    assert "[link=http://x]y[/link]" in text
    assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_an_item_that_the_catalog_does_not_know_shows_its_id():
    lists = pl.DataFrame({"user_id": [1], "item_id": [999], "score": [1.0], "rank": [1]})
    assert printed(recommendation_table(lists, catalog())).count("999") == 2


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column 'score'"):
        recommendation_table(pl.DataFrame({"user_id": [1], "item_id": [1], "rank": [1]}))


def figure(mean, low, high):
    return Figure(mean=mean, ci95=(low, high), n=10)


@pytest.mark.parametrize(
    ("metric", "marks"),
    [
        ("ndcg@10", ["", "tie", "best", ""]),
        ("logloss", ["best", "", "", ""]),
        ("coverage@10", ["", "", "", ""]),
    ],
)
def test_best_and_ties_are_marked_by_overlapping_intervals(metric, marks):
    figures = [figure(0.1, 0.05, 0.15), figure(0.3, 0.2, 0.4), figure(0.5, 0.35, 0.6), None]
    assert [cell.mark for cell in figure_cells(figures, metric)] == marks


def test_nothing_is_best_among_equals_or_alone():
    same = [figure(0.0, 0.0, 0.0), figure(0.0, 0.0, 0.0)]
    assert [cell.mark for cell in figure_cells(same, "ndcg@10")] == ["", ""]
    assert figure_cells(same[:1], "ndcg@10")[0].mark == ""


def test_a_column_has_one_number_of_decimals():
    cells = figure_cells([figure(0.5, 0.4, 0.6), figure(12.25, 11, 13)], "novelty@10")
    assert [cell.mean for cell in cells] == ["0.500", "12.250"]
    assert cells[1].interval == "11.000–13.000"
    assert [decimals_for([x]) for x in (0.01, 5.0, 50.0, 5000.0)] == [4, 3, 2, 0]


def test_a_figure_without_mean_is_a_dash():
    assert figure_cells([None, Figure(mean=None, ci95=None, n=0)], "auc")[1].mean == "–"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb\nc\x00d", "a b c d"),
        ("<b>&", "<b>&"),
        (None, "None"),
        ("x" * 500, "x" * 89 + "…"),
        ("שלום", "שלום"),
    ],
)
def test_plain_text_is_one_short_visible_line(text, shown):
    assert plain(text) == shown


def test_metric_kinds():
    assert is_descriptive("intra_list_diversity@10")
    assert not is_descriptive("ndcg@10")
    assert not higher_is_better("ece")
    assert higher_is_better("map@5")
    assert [percent(x) for x in (0, 0.0012, 0.5)] == ["0.0 %", "0.12 %", "50.0 %"]
