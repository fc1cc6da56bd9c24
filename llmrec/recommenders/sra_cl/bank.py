"""The bank of states: one vector for every training event, read without gradient.

With it a step reads its neighbours' states instead of encoding their sequences again. Rows are
rewritten by the steps that compute them anyway, by a full refresh between epochs, or by a slowly
moving copy of the encoder. The states lie in a buffer, so checkpoints hold them.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.data.ragged import offsets_of, span_indices
from llmrec.data.windows import Windows, window_rows
from llmrec.recommenders.sasrec.encoder import PackedRows, SequenceEncoder
from llmrec.recommenders.sra_cl.events import TrainingEvents

_ROWS_AT_ONCE = 512
_STALENESS_SAMPLE = 1024


class StateBank(nn.Module):
    """States of all training events.

    Args:
        n_events: Rows.
        dim: Width of a state.
    """

    states: Tensor

    def __init__(self, n_events: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("states", torch.zeros(n_events, dim))

    def read(self, rows: Tensor) -> Tensor:
        """``rows.shape + [d]`` states, without gradient."""
        return self.states[rows]

    def write(self, rows: Tensor, states: Tensor) -> None:
        """Overwrite rows; with several processes, every process gets the rows of all."""
        rows, states = rows.detach(), states.detach().to(self.states.dtype)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rows, states = _gathered(rows, states)
        self.states.index_copy_(0, rows, states)

    def refresh(self, states: Tensor) -> float:
        """Overwrite all rows.

        Returns:
            The mean cosine between old and new states on a fixed sample of rows: 1 is not stale.
        """
        step = max(1, len(states) // _STALENESS_SAMPLE)
        cosine = functional.cosine_similarity(self.states[::step], states[::step], dim=1)
        self.states.copy_(states)
        return float(cosine.mean())


class SlowCopy(nn.Module):
    """A copy of the encoder that follows it: ``copy = m * copy + (1 - m) * encoder``.

    Args:
        encoder: The network to follow.
        momentum: ``m``.
    """

    def __init__(self, encoder: SequenceEncoder, momentum: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, encoder: SequenceEncoder) -> None:
        """Move towards the weights of ``encoder``."""
        own: list[Tensor] = [p.data for p in self.encoder.parameters()]
        torch._foreach_lerp_(own, [p.data for p in encoder.parameters()], 1 - self.momentum)

    @torch.no_grad()
    def forward(self, items: Tensor, rows: PackedRows) -> Tensor:
        """States of packed rows in evaluation mode."""
        with evaluating(self.encoder):
            states: Tensor = self.encoder(items, rows)
        return states


@torch.no_grad()
def encode_events(encoder: SequenceEncoder, events: TrainingEvents, max_length: int) -> Tensor:
    """Encode every training event in evaluation mode.

    Args:
        encoder: The network; its mode is as before afterwards.
        events: The events.
        max_length: Longest window; each event is taken from the window in which training learns
            at it, a user's newest event from the newest ones.

    Returns:
        ``[events, d]`` float32 states on the encoder's device.
    """
    starts, lengths, n_learn = _windows_of(events, max_length)
    device = encoder.items.weight.device
    states = torch.empty(len(events), encoder.config.dim, device=device)
    order = np.argsort(lengths, kind="stable")
    with evaluating(encoder):
        for begin in range(0, order.size, _ROWS_AT_ONCE):
            chosen = order[begin : begin + _ROWS_AT_ONCE]
            size, learn = lengths[chosen], n_learn[chosen]
            where = span_indices(starts[chosen], size)
            items = torch.from_numpy(events.items[where]).to(device)
            found = encoder(items, PackedRows(size).to(device)).float()
            at = torch.from_numpy(span_indices(offsets_of(size)[1:] - learn, learn))
            states[torch.from_numpy(where)[at].to(device)] = found[at.to(device)]
    return states


def _windows_of(events: TrainingEvents, max_length: int) -> Windows:
    """Training's windows, and the newest event of every user where they do not reach it."""
    first = events.first_rows
    lengths = events.ends[first] - first
    fits = lengths <= max_length
    long = first[~fits]
    newest = np.full(long.size, max_length), np.ones(long.size, dtype=np.int64)
    parts = (
        (first[fits], lengths[fits], lengths[fits]),
        window_rows(long, lengths[~fits] - 1, max_length),
        (events.ends[long] - max_length, *newest),
    )
    starts, sizes, n_learn = (np.concatenate(each) for each in zip(*parts, strict=True))
    return starts, sizes, n_learn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of a block."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def _gathered(rows: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and states of all processes, in the order of the processes."""
    world = torch.distributed.get_world_size()
    if world == 1:
        return rows, states
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    torch.distributed.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    longest = int(max(sizes))
    padded_rows = functional.pad(rows, (0, longest - len(rows)))
    padded_states = functional.pad(states, (0, 0, 0, longest - len(rows)))
    all_rows = [torch.empty_like(padded_rows) for _ in range(world)]
    all_states = [torch.empty_like(padded_states) for _ in range(world)]
    torch.distributed.all_gather(all_rows, padded_rows)
    torch.distributed.all_gather(all_states, padded_states)
    parts = [int(size) for size in sizes]
    return (
        torch.cat([r[:n] for r, n in zip(all_rows, parts, strict=True)]),
        torch.cat([s[:n] for s, n in zip(all_states, parts, strict=True)]),
    )
