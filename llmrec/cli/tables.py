"""Figures, lists and comparisons as plain tables.

Titles and ids come from data and may be hostile: they are printed as one visible line each.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmrec.cli.terminal import print_table, printable, styled

if TYPE_CHECKING:
    import polars as pl

    from llmrec.runs.directory import RunDirectory


def print_metrics(result: Mapping[str, Any]) -> None:
    """Print the figures of one evaluation (the content of ``metrics.json``)."""
    rows = [
        (metric, number(value["mean"]), interval(value.get("ci95")), value.get("n") or "")
        for metric, value in result["metrics"].items()
    ]
    print_table(("metric", "mean", "95% interval", "cases"), rows)
    if result.get("n_skipped"):
        print(f"{result['n_skipped']} users could not be judged and are left out")
    if result.get("n_unknown_items"):
        print(f"{result['n_unknown_items']} items of the data are unknown to the model")
    for note in result.get("notes", ()):
        print(note)


def print_runs(runs: "Sequence[RunDirectory]", metrics: Sequence[str]) -> None:
    """Print the figures of several runs side by side, one line per run."""
    judged = [run.metrics for run in runs]
    columns = [name for name in metrics if all(name in each["metrics"] for each in judged)]
    first = judged[0]
    print(
        f"{first['dataset']}, {first['part']} part, {first['n_users']:,} users, full catalogue; "
        "brackets: 95% interval\n"
    )
    rows = [
        (each["model"], *(_figure(each["metrics"][name]) for name in columns)) for each in judged
    ]
    print_table(("model", *columns), rows)


def print_lists(lists: "pl.DataFrame") -> None:
    """Print one numbered list of items per user."""
    for (user,), items in lists.group_by(["user_id"], maintain_order=True):
        print(styled(f"user {printable(user)}", "bold"))
        rows = [
            (row["rank"], printable(row["item_id"]), number(row["score"]), printable(row["title"]))
            for row in items.iter_rows(named=True)
        ]
        print_table(("rank", "item", "score", "title"), rows)


def print_comparison(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print paired differences, one line per pair of runs and metric."""
    print_table(
        ("metric", "comparison", "difference", "95% interval", "p (Holm)", "users"),
        [
            (
                row["metric"],
                f"{printable(row['other'])} - {printable(row['reference'])}",
                f"{row['difference']:+.4f}",
                interval(row["ci95"], signed=True),
                f"{row['p_holm']:.4f}",
                row["n_users"],
            )
            for row in rows
        ],
    )


def _figure(value: Mapping[str, Any]) -> str:
    return f"{number(value['mean'])} {interval(value.get('ci95'))}".rstrip()


def number(value: float | None) -> str:
    """A figure with four decimals, or a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def interval(ends: Sequence[float] | None, signed: bool = False) -> str:
    """An interval as ``[0.0812, 0.0934]``, or nothing where there is none."""
    if ends is None:
        return ""
    sign = "+" if signed else ""
    return f"[{ends[0]:{sign}.4f}, {ends[1]:{sign}.4f}]"
