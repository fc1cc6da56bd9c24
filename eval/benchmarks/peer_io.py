"""What the scripts that run inside a peer's environment share: events, threads and a clock.

Needs only pandas, pyarrow and torch, and never imports llmrec: the peers' environment does not
have it.
"""

import time
from pathlib import Path

import pandas as pd
import torch
from setting import Setting

TRAIN, VALID, TEST = 0, 1, 2


def limit_threads(setting: Setting) -> None:
    """Give the numerical library its threads; call before anything is computed."""
    torch.set_num_threads(setting.threads)


def read_events(path: Path) -> pd.DataFrame:
    """Read ``user, item, position, part`` in order of user and position."""
    return pd.read_parquet(path).sort_values(["user", "position"], ignore_index=True)


def inputs_of(events: pd.DataFrame, part: str) -> pd.DataFrame:
    """The events that a model may see before it is asked about ``part``."""
    return events[events["part"] < {"valid": VALID, "test": TEST}[part]]


class Clock:
    """Counts the batches and seconds of training, and says when to stop.

    Args:
        max_batches: Stop after this many batches, or None.
        seconds: Stop after this many seconds, or None.
    """

    def __init__(self, max_batches: int | None = None, seconds: float | None = None) -> None:
        self.max_batches = max_batches
        self.budget = seconds
        self.batches = 0
        self.seconds = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Start counting; what was done before is set-up."""
        self._started = time.perf_counter()

    def tick(self) -> None:
        """Count one batch that is done."""
        self.batches += 1
        self.seconds = time.perf_counter() - self._started

    def stop(self) -> None:
        """Take the final time."""
        self.seconds = time.perf_counter() - self._started

    @property
    def is_over(self) -> bool:
        """Whether the budget of batches or seconds is used up."""
        out_of_batches = self.max_batches is not None and self.batches >= self.max_batches
        return out_of_batches or (self.budget is not None and self.seconds >= self.budget)
