"""Where a training run stands, as JSON values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Where training stands; JSON values only, stored in every checkpoint."""

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    stale: int = 0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The fields, with None for a best metric that does not exist yet."""
        values = dict(self.__dict__)
        values["best"] = None if math.isinf(self.best) else self.best
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """Inverse of :meth:`to_json`."""
        best = values["best"]
        return cls(**{**values, "best": -math.inf if best is None else best})
