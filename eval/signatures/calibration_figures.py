"""Committed figures of ways to calibrate; ``calibration_choice.py`` writes them."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from llmrec.storage import read_json

OUTPUT = Path(__file__).parents[1] / "results" / "signatures" / "decisions" / "calibration.json"

Spread = tuple[float, float, float]


class CalibrationCell(BaseModel):
    """One LLM and mode.

    Attributes:
        errors: Mean ECE on untested subjects held out, by way to calibrate.
        shift: Standard deviation between untested subjects, in log-odds.
        tested: Records of the test part.
        tested_subjects: Its subjects.
        floor: ECE that calibrated probabilities would show on them: mean, 2.5 % and 97.5 %.
        floor_with_shift: The same if the tested subjects differ as much as the others.
    """

    model_config = ConfigDict(extra="forbid")

    errors: dict[str, float]
    shift: float
    tested: int
    tested_subjects: int
    floor: Spread
    floor_with_shift: Spread


class CalibrationFigures(BaseModel):
    """The whole file, cells by name."""

    model_config = ConfigDict(extra="forbid")

    figure: Literal["calibration"]
    cells: dict[str, CalibrationCell]
    repeats: int
    recipe: str
    commit: str
    hardware: str

    def mean_errors(self) -> dict[str, float]:
        """Errors by way, over all cells."""
        cells = list(self.cells.values())
        ways = cells[0].errors
        return {way: round(float(np.mean([c.errors[way] for c in cells])), 5) for way in ways}


def load_calibration(path: Path = OUTPUT) -> CalibrationFigures:
    """Read the committed file."""
    return CalibrationFigures.model_validate(read_json(path))


def calibration_table(figures: CalibrationFigures) -> str:
    """Markdown: errors by way, one row per cell."""
    ways = list(figures.mean_errors())
    lines = [f"| cell | {' | '.join(ways)} |", "|---" * (1 + len(ways)) + "|"]
    rows = {name: cell.errors for name, cell in figures.cells.items()}
    for name, errors in [*rows.items(), ("mean", figures.mean_errors())]:
        lines.append(f"| {name} | {' | '.join(f'{errors[way]:.4f}' for way in ways)} |")
    return "\n".join(lines)
