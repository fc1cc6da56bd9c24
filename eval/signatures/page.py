"""Write the committed figures of detectors into ``docs/signatures.md``.

    python eval/signatures/page.py

The tables stand between two marks in the page; a test fails when they are not those of
``eval/results/signatures``.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from calibration_figures import CalibrationFigures, calibration_table, load_calibration

from llmrec.signatures.comparison import SignatureResult, load_signature_results
from llmrec.signatures.comparison.results import TransferFigures, summary_table
from llmrec.storage import write_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "signatures.md"
_CALIBRATION = re.compile(r"(<!-- calibration -->\n).*?(<!-- end of calibration -->)", re.DOTALL)
_MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def main() -> None:
    """Put the tables of the committed results into the page."""
    results = load_signature_results(ROOT / "eval" / "results")
    text = with_tables(PAGE.read_text(encoding="utf-8"), results)
    write_text(PAGE, with_calibration(text, load_calibration(), results))


def with_tables(page: str, results: Sequence[SignatureResult]) -> str:
    """The page with the tables of some results between its marks."""
    tables = summary_table(results)
    controls = _controls(results)
    moved = [one for result in results for one in result.transfer]
    parts = [tables, controls, *([transfer_table(results)] if moved else [])]
    inside = "\n\n".join(parts)
    return _MARKED.sub(lambda found: f"{found[1]}{inside}\n\n{found[2]}", page)


def with_calibration(
    page: str, figures: CalibrationFigures, results: Sequence[SignatureResult]
) -> str:
    """The page with the tables about calibration between their marks."""
    inside = f"{calibration_table(figures)}\n\n{floor_table(figures, results)}"
    return _CALIBRATION.sub(lambda found: f"{found[1]}{inside}\n\n{found[2]}", page)


def floor_table(figures: CalibrationFigures, results: Sequence[SignatureResult]) -> str:
    """Markdown: measured errors beside those of probabilities that are right."""
    measured = {result.task: result.methods["los_net"].ece for result in results}
    lines = [
        "| cell | records, subjects | ECE | if calibrated | if the subjects differ, too "
        "| their spread |",
        "|---|---|---|---|---|---|",
    ]
    for name, cell in figures.cells.items():
        ece = measured.get(f"mcq-{name}")
        lines.append(
            f"| {name} | {cell.tested:,}, {cell.tested_subjects} "
            f"| {'-' if ece is None else f'{ece:.3f}'} | {_spread(cell.floor)} "
            f"| {_spread(cell.floor_with_shift)} | {cell.shift:.2f} |"
        )
    return "\n".join(lines)


def _spread(values: tuple[float, float, float]) -> str:
    mean, low, high = values
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def transfer_table(results: Sequence[SignatureResult]) -> str:
    """Markdown: one row per pair of sources."""
    lines = [
        "| trained on | judged on | as it is | fine-tuned | fine-tuned and weighed "
        "| those labels alone | single score | weighed less single |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        lines += [_pair(result, one) for one in result.transfer]
    return "\n".join(lines)


def _pair(result: SignatureResult, one: TransferFigures) -> str:
    figures = (one.zero_shot, one.tuned, one.adapted, one.scratch, one.single)
    cells = " | ".join("-" if figure is None else f"{figure.mean:.4f}" for figure in figures)
    gap = "-"
    if one.adapted_less_single is not None:
        low, high = (round(end, 4) + 0.0 for end in one.adapted_less_single)  # 0 has no sign
        gap = f"[{low:+.4f}, {high:+.4f}]"
    return f"| {result.task} | {one.target} | {cells} | {gap} |"


def _controls(results: Sequence[SignatureResult]) -> str:
    lines = ["| task | length | words alone | shuffled labels |", "|---|---|---|---|"]
    for result in results:
        cells = []
        for name in ("length", "bag_of_words", "shuffled_labels"):
            figures = result.methods.get(name)
            if figures is None or figures.auc.ci95 is None:
                cells.append("-")
                continue
            low, high = figures.auc.ci95
            cells.append(f"{figures.auc.mean:.4f} [{low:.4f}, {high:.4f}]")
        lines.append(f"| {result.task} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
