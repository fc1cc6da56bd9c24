"""Tables of the committed figures of decisions: conformal.py and drift_alarm.py write them."""

from collections.abc import Sequence
from pathlib import Path

from conformal import ALPHAS, ConformalFigures, Row
from conformal_starts import StartsFigures
from drift_alarm import DriftFigures

from llmrec.storage import read_json

FOLDER = Path(__file__).parent / "results" / "signatures" / "decisions"


def load_conformal(folder: Path = FOLDER) -> ConformalFigures:
    """The figures of selective answering and of risk control."""
    return ConformalFigures.model_validate(read_json(folder / "conformal.json"))


def load_starts(folder: Path = FOLDER) -> StartsFigures:
    """The comparison of rules where walks start."""
    return StartsFigures.model_validate(read_json(folder / "starts.json"))


def load_drift(folder: Path = FOLDER) -> DriftFigures:
    """The figures of the drift alarm."""
    return DriftFigures.model_validate(read_json(folder / "drift.json"))


def simulated_table(figures: ConformalFigures) -> str:
    """Simulated items: how often the promise is broken, and what is answered."""
    lines = [
        f"| items | calibrated on | budget | broken (at most {figures.delta:.0%} promised) | "
        "answered | answered and wrong, bounded on average |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures.rows:
        if row.source == "simulated" and row.rule == "selective":
            bounded = _same(figures, row, "bounded", row.score)
            lines.append(
                f"| {row.name} | {row.n:,} | {row.alpha:.0%} | {row.broken:.1%} | "
                f"{row.coverage:.1%} | {bounded.mean_error:.2%} |"
            )
    return "\n".join(lines)


def starts_table(figures: StartsFigures) -> str:
    """One row per rule: how often simulated promises are broken, and what is answered."""
    heads = " | ".join(f"answered at {a:.0%} (p-max)" for a in ALPHAS)
    lines = [
        f"| starts | simulated: answered | broken at most | real: {heads} | broken at most |",
        "|---" * (4 + len(ALPHAS)) + "|",
    ]
    for starts in dict.fromkeys(row.starts for row in figures.rows):
        rows = [row for row in figures.rows if row.starts == starts]
        name = ", ".join(f"{start:.0%}" for start in starts)
        answered = sum(row.simulated_coverage for row in rows) / len(rows)
        cells = [f"{row.coverage:.1%} ({row.p_max_coverage:.1%})" for row in rows]
        lines.append(
            f"| {f'**{name}**' if starts == figures.taken else name} | {answered:.1%} "
            f"| {max(row.simulated_broken for row in rows):.1%} | {' | '.join(cells)} "
            f"| {max(row.broken for row in rows):.1%} |"
        )
    return "\n".join(lines)


def below_table(figures: ConformalFigures) -> str:
    """Cells of real logs in which less is answered than with p-max, with intervals."""
    lines = ["| LLM, mode | budget | LOS-Net less p-max |", "|---|---|---|"]
    for row in figures.rows:
        gap, interval = row.above_p_max, row.above_p_max_ci95
        if row.rule == "selective" and gap is not None and gap < 0 and interval is not None:
            low, high = interval
            lines.append(
                f"| {row.name} | {row.alpha:.0%} | {100 * gap:+.2f} points "
                f"[{100 * low:+.2f}, {100 * high:+.2f}] |"
            )
    return "\n".join(lines)


def real_table(figures: ConformalFigures) -> str:
    """Real logs: one row per LLM and mode, broken and answered at each budget."""
    heads = " | ".join(f"broken at {a:.0%} | answered (p-max)" for a in ALPHAS)
    lines = [f"| LLM, mode | AUC (p-max) | {heads} |", "|---" * (2 + 2 * len(ALPHAS)) + "|"]
    for name in dict.fromkeys(row.name for row in figures.rows if row.source == "real"):
        own = _cell_rows(figures, name, "LOS-Net")
        other = _cell_rows(figures, name, "p-max")
        cells = [f"{own[0].auc:.3f} ({other[0].auc:.3f})"]
        for a, b in zip(own, other, strict=True):
            cells += [f"{a.broken:.1%}", f"{a.coverage:.1%} ({b.coverage:.1%})"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, _mean_line(figures)])


def drift_table(figures: DriftFigures) -> str:
    """False alarms and alarms, the cells of real logs together."""
    settings = dict.fromkeys((row.source, row.change) for row in figures.rows)
    levels = sorted({row.level for row in figures.rows})
    heads = " | ".join(f"alarms, {level:.0%} false ones allowed" for level in levels)
    lines = [f"| records | change | checks | {heads} |", "|---" * (3 + len(levels)) + "|"]
    for source, change in settings:
        rows = [row for row in figures.rows if (row.source, row.change) == (source, change)]
        shares = [_share([row for row in rows if row.level == level]) for level in levels]
        checks = sum(row.checks for row in rows if row.level == levels[0])
        lines.append(f"| {source} | {change} | {checks:,} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _share(rows: Sequence[object]) -> str:
    alarms = [row.alarms for row in rows]  # type: ignore[attr-defined]
    mean, most = sum(alarms) / len(alarms), max(alarms)
    if len(rows) == 1 or most - min(alarms) < 5e-4:
        return f"{mean:.1%}"
    return f"{mean:.1%} (at most {most:.1%} in a cell)"


def _cell_rows(figures: ConformalFigures, name: str, score: str) -> list[Row]:
    found = [r for r in figures.rows if (r.name, r.score, r.rule) == (name, score, "selective")]
    return sorted(found, key=lambda row: row.alpha)


def _mean_line(figures: ConformalFigures) -> str:
    cells = ["–"]
    for alpha in ALPHAS:
        means = []
        for score in ("LOS-Net", "p-max"):
            rows = [
                row.coverage
                for row in figures.rows
                if (row.source, row.score, row.rule, row.alpha)
                == ("real", score, "selective", alpha)
            ]
            means.append(sum(rows) / len(rows))
        cells += ["–", f"{means[0]:.1%} ({means[1]:.1%})"]
    return f"| mean | {' | '.join(cells)} |"


def _same(figures: ConformalFigures, row: Row, rule: str, score: str) -> Row:
    return next(
        other
        for other in figures.rows
        if (other.source, other.name, other.alpha, other.n, other.rule, other.score)
        == (row.source, row.name, row.alpha, row.n, rule, score)
    )
