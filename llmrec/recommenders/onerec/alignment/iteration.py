"""What one iteration of an alignment came to, and which of its validations counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CHOOSES = "aligned"
"""The metric of an iteration's training: the reward, guarded by the validation metric."""

Watched = Mapping[str, float]


@dataclass(frozen=True)
class Iteration:
    """What one iteration came to.

    Attributes:
        number: From 1; 0 is the policy before alignment.
        policy: Version of the weights it left behind.
        figures: On validation users, after it.
        pairs: Prompts, pairs and what was dropped.
        log: Rows of its training.
        kept: Whether its policy was kept; without pairs it is the one before.
    """

    number: int
    policy: str
    figures: Watched
    pairs: Mapping[str, int] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    kept: bool = True


def best_of(log: list[dict[str, Any]]) -> dict[str, float] | None:
    """The validation whose weights the training kept: the first of the best."""
    found = [row["valid"] for row in log if "valid" in row]
    if not found:
        return None
    best = max(found, key=lambda valid: float(valid[CHOOSES]))
    return {name: value for name, value in best.items() if name != CHOOSES}
