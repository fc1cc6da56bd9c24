"""Write the committed figures of detectors into ``docs/signatures.md``.

    python eval/signatures/page.py

The tables stand between two marks in the page; a test fails when they are not those of
``eval/results/signatures``.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from llmrec.signatures.comparison import SignatureResult, load_signature_results
from llmrec.signatures.comparison.results import TransferFigures, summary_table
from llmrec.storage import write_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "signatures.md"
_MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def main() -> None:
    """Put the tables of the committed results into the page."""
    results = load_signature_results(ROOT / "eval" / "results")
    write_text(PAGE, with_tables(PAGE.read_text(encoding="utf-8"), results))


def with_tables(page: str, results: Sequence[SignatureResult]) -> str:
    """The page with the tables of some results between its marks."""
    tables = summary_table(results)
    controls = _controls(results)
    moved = [one for result in results for one in result.transfer]
    parts = [tables, controls, *([transfer_table(results)] if moved else [])]
    inside = "\n\n".join(parts)
    return _MARKED.sub(lambda found: f"{found[1]}{inside}\n\n{found[2]}", page)


def transfer_table(results: Sequence[SignatureResult]) -> str:
    """Markdown: one row per pair of sources."""
    lines = [
        "| trained on | judged on | as it is | after a few labels | those labels alone "
        "| single score | second less last |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        lines += [_pair(result, one) for one in result.transfer]
    return "\n".join(lines)


def _pair(result: SignatureResult, one: TransferFigures) -> str:
    figures = (one.zero_shot, one.tuned, one.scratch, one.single)
    cells = " | ".join(f"{figure.mean:.4f}" for figure in figures)
    low, high = one.tuned_less_single
    return f"| {result.task} | {one.target} | {cells} | [{low:+.4f}, {high:+.4f}] |"


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
