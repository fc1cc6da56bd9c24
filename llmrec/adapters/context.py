"""Which rows of the current forward pass have which gate weights.

The weights travel in a context variable that is set for one forward call and belongs to its
thread: nothing stays on the modules, so interleaved batches, threads and data-parallel replicas
cannot see each other's. A pass outside any context is an error, not the base model.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from llmrec.errors import ConfigError

Route = Literal["auto", "fused", "merged"]


@dataclass(frozen=True)
class Gates:
    """Gate weights of the rows of a batch.

    Attributes:
        values: ``[rows, gates, blocks]``; with one row, all rows of the batch share it. None
            switches the adapters off.
        route: ``fused`` multiplies with all experts, ``merged`` builds each row's matrices first;
            ``auto`` takes the cheaper. The results are equal.
    """

    values: Tensor | None
    route: Route = "auto"


_CURRENT: ContextVar[Gates | None] = ContextVar("llmrec_gates", default=None)


@contextmanager
def use_gates(gates: Gates | None) -> Iterator[None]:
    """Set the gates of all forward passes inside the block."""
    token = _CURRENT.set(gates)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_gates() -> Gates:
    """The gates of this pass.

    Raises:
        ConfigError: There are none.
    """
    gates = _CURRENT.get()
    if gates is None:
        raise ConfigError(
            "a gated LoRA layer ran without gates: call the GatedLora model itself, or run inside "
            "its using(...); gradient checkpointing must be switched on by the GatedLora model."
        )
    return gates


def recompute_contexts() -> tuple[Any, Any]:
    """``context_fn`` of torch's checkpointing: the backward pass sees the forward pass's gates."""
    return nullcontext(), use_gates(_CURRENT.get())
