"""The causal Transformer over item sequences, on packed rows.

Sequences travel flat, without padding: only attention sees a padded view. Positions count from the
start of the window, in training and in inference alike, so the state at position ``t`` of a row is
the encoding of the row's first ``t + 1`` items. The encoder knows item codes, no ids.
"""

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.data.ragged import offsets_of, position_of_each
from llmrec.recommenders.sasrec.config import SASRecConfig
from llmrec.training.dropout import ByteDropout

_GROUP_UP_TO = (8, 20)  # longest row of a group; longer rows share the last group


class PackedRows:
    """Where flat values of ragged rows sit in padded grids.

    Rows of similar length share a grid, so that a few long rows do not pad all short ones. Where
    torch sees an accelerator there is one grid: there a step waits for the number of operations.

    Args:
        lengths: ``[rows]`` int64, each at least 1.
    """

    def __init__(self, lengths: npt.NDArray[np.int64]) -> None:
        offsets = offsets_of(lengths)
        self.positions = torch.from_numpy(position_of_each(offsets))
        self.last = torch.from_numpy(offsets[1:] - 1)
        bounds = () if torch.accelerator.is_available() else _GROUP_UP_TO
        group = np.searchsorted(bounds, lengths)
        self.grids = [
            _Grid(offsets[:-1][members], lengths[members])
            for members in (np.flatnonzero(group == g) for g in range(len(bounds) + 1))
            if members.size
        ]

    def repeated(self, times: int) -> "PackedRows":
        """The layout of these rows several times, one after another; on the CPU."""
        lengths = np.diff(self.last.numpy(), prepend=-1)
        return PackedRows(np.tile(lengths, times))

    def to(self, device: torch.device, non_blocking: bool = True) -> Self:
        """Move the index arrays to a device, in place."""
        self.positions = self.positions.to(device, non_blocking=non_blocking)
        self.last = self.last.to(device, non_blocking=non_blocking)
        for grid in self.grids:
            grid.flat = grid.flat.to(device, non_blocking=non_blocking)
            grid.cells = grid.cells.to(device, non_blocking=non_blocking)
        return self


class _Grid:
    """A ``[rows, longest]`` grid: flat value ``flat[i]`` sits in cell ``cells[i]``."""

    def __init__(self, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> None:
        self.shape = (lengths.size, int(lengths.max()))
        within = position_of_each(offsets_of(lengths))
        self.flat = torch.from_numpy(np.repeat(starts, lengths) + within)
        self.cells = torch.from_numpy(
            np.repeat(np.arange(lengths.size), lengths) * self.shape[1] + within
        )

    def pad(self, values: Tensor) -> Tensor:
        """``[total, d]`` to ``[rows, longest, d]``, zeros after each row's end."""
        if len(self.flat) < len(values):
            values = values.index_select(0, self.flat)
        grid = values.new_zeros(self.shape[0] * self.shape[1], values.shape[1])
        return grid.index_copy_(0, self.cells, values).view(*self.shape, values.shape[1])


class SequenceEncoder(nn.Module):
    """SASRec's encoder (Kang and McAuley, 2018) with tied item vectors.

    Args:
        config: Architecture.
        n_items: Items in the catalog.
    """

    def __init__(self, config: SASRecConfig, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(n_items, config.dim)  # row j is code j + 1
        self.positions = nn.Embedding(config.max_length, config.dim)
        self.input_norm = _norm(config.dim) if config.norm == "post" else nn.Identity()
        self.dropout = ByteDropout(config.dropout)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.output_norm = nn.Identity() if config.norm == "post" else _norm(config.dim)
        self.repeat_bias = nn.Parameter(torch.zeros(())) if config.repeat_bias else None
        self.apply(self._initialise)

    def forward(self, items: Tensor, rows: PackedRows) -> Tensor:
        """Encode every position.

        Args:
            items: ``[total]`` int64 item codes, from 1, rows one after another.
            rows: Their layout; no row is longer than ``max_length``.

        Returns:
            ``[total, d]`` states.
        """
        states = self.items(items - 1) + self.positions(rows.positions)
        states = self.dropout(self.input_norm(states))
        for block in self.blocks:
            states = block(states, rows)
        result: Tensor = self.output_norm(states)
        return result

    @property
    def item_vectors(self) -> Tensor:
        """``[items, d]`` vectors: row ``j`` is code ``j + 1``."""
        return self.items.weight

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.init_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


class _Block(nn.Module):
    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.pre = config.norm == "pre"
        self.attention_dropout = config.attention_dropout
        self.attention_norm = _norm(config.dim)
        self.query_key_value = nn.Linear(config.dim, 3 * config.dim)
        self.attention_output = nn.Linear(config.dim, config.dim)
        self.feed_forward_norm = _norm(config.dim)
        self.expand = nn.Linear(config.dim, config.feed_forward)
        self.contract = nn.Linear(config.feed_forward, config.dim)
        self.dropout = ByteDropout(config.dropout)

    def forward(self, states: Tensor, rows: PackedRows) -> Tensor:
        if self.pre:
            states = states + self._attend(self.attention_norm(states), rows)
            return states + self._feed_forward(self.feed_forward_norm(states))
        states = self.attention_norm(states + self._attend(states, rows))
        normed: Tensor = self.feed_forward_norm(states + self._feed_forward(states))
        return normed

    def _attend(self, states: Tensor, rows: PackedRows) -> Tensor:
        mixed = self.query_key_value(states)
        parts = [
            self._attend_in_grid(grid.pad(mixed)).index_select(0, grid.cells) for grid in rows.grids
        ]
        if len(parts) == 1:  # one grid holds all rows in their order
            (attended,) = parts
        else:
            attended = parts[0].new_empty(states.shape)
            for grid, part in zip(rows.grids, parts, strict=True):
                attended.index_copy_(0, grid.flat, part)
        output: Tensor = self.dropout(self.attention_output(attended))
        return output

    def _attend_in_grid(self, mixed: Tensor) -> Tensor:
        """``[rows, longest, 3 d]`` to ``[rows * longest, d]``, causal.

        Padding follows each row, so no real query can see it.
        """
        n_rows, longest, width = mixed.shape
        split = mixed.view(n_rows, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            split[0],
            split[1],
            split[2],
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=True,
        )
        return attended.transpose(1, 2).reshape(n_rows * longest, width // 3)

    def _feed_forward(self, states: Tensor) -> Tensor:
        hidden = functional.gelu(self.expand(states))
        output: Tensor = self.dropout(self.contract(hidden))
        return output


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-12)
