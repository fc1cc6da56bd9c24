"""Batches of windows, made of flat features without a loop over texts.

Features are computed once and rows of them are taken, unless a batch draws how many columns or
positions it is to see.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.ragged import offsets_of, position_of_each, span_indices
from llmrec.signatures.los_net.columns import Columns, IntArray
from llmrec.signatures.los_net.config import LOSNetConfig, Normaliser
from llmrec.signatures.los_net.features import Features, build_features
from llmrec.signatures.los_net.windows import windows_of


@dataclass(frozen=True)
class Inputs:
    """The fields of :class:`~llmrec.signatures.los_net.features.Features` as tensors."""

    values: Tensor
    actual: Tensor
    rank: Tensor
    rank_scaled: Tensor
    channels: Tensor

    @classmethod
    def of(cls, features: Features, rows: IntArray | slice = slice(None)) -> Self:
        """Some rows of features."""
        return cls(*(torch.from_numpy(getattr(features, f.name)[rows]) for f in fields(cls)))


@dataclass(frozen=True)
class WindowBatch:
    """Texts cut into windows, in a grid of ``W`` windows by ``N`` positions.

    Attributes:
        inputs: ``T`` positions, those of overlapping windows once.
        source: ``[M]`` int64 which position goes to a cell.
        cells: ``[M]`` int64 which cell of the flattened grid it is.
        seen: ``[W, N]`` bool, what may be looked at.
        owner: ``[W]`` int64 text of each window.
        labels: ``[n]`` float32, 1 for risk; NaN where not known.
    """

    inputs: Inputs
    source: Tensor
    cells: Tensor
    seen: Tensor
    owner: Tensor
    labels: Tensor

    @property
    def n(self) -> int:
        """Number of texts."""
        return len(self.labels)

    @property
    def fills_grid(self) -> bool:
        """Whether every cell holds a position and every position one cell, in their order."""
        return len(self.inputs.actual) == len(self.cells) == self.seen.numel()

    @property
    def n_targets(self) -> int:
        """Number of loss terms."""
        return self.n

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved = Inputs(*(getattr(self.inputs, f.name).to(device) for f in fields(Inputs)))
        rest = [getattr(self, f.name).to(device) for f in fields(self) if f.name != "inputs"]
        return type(self)(moved, *rest)


class SignatureBatches:
    """Texts that can be fetched as batches, for training and for scoring.

    Args:
        columns: The texts.
        config: Windows, padding, and what is drawn at random.
        labels: ``[n]`` 0 or 1, or None.
        normaliser: Instead of the configured one.
    """

    def __init__(
        self,
        columns: Columns,
        config: LOSNetConfig,
        labels: npt.ArrayLike | None = None,
        normaliser: Normaliser | None = None,
    ) -> None:
        self._columns = columns
        self._config = config
        self._normaliser = normaliser or config.normaliser
        self.features = build_features(columns, self._normaliser)
        given = np.full(len(columns), np.nan) if labels is None else np.asarray(labels)
        self.labels = given.astype(np.float32)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def lengths(self) -> IntArray:
        """``[n]`` positions of each text."""
        return self._columns.lengths

    def batch(self, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> WindowBatch:
        """Texts for training, with what the settings leave to chance."""
        lengths = self.lengths[rows]
        if self._config.random_prefix:
            cut = np.ceil(lengths * generator.random(rows.size)).astype(np.int64)
            lengths = np.where(generator.random(rows.size) < 0.5, cut, lengths)
        if not self._config.random_k:
            return self.fixed(rows, lengths)
        columns = self._columns.take(rows, lengths)
        limits = _draw_limits(rows.size, self._config.k, generator)
        features = build_features(columns.limited(limits), self._normaliser)
        return self._in_windows(Inputs.of(features), lengths, rows)

    def fixed(self, rows: npt.NDArray[np.int64], lengths: IntArray | None = None) -> WindowBatch:
        """Texts as they are, each cut to its first ``lengths`` positions if those are given."""
        kept = self.lengths[rows] if lengths is None else lengths
        flat = span_indices(self._columns.offsets[rows], kept)
        return self._in_windows(Inputs.of(self.features, flat), kept, rows)

    def _in_windows(
        self, inputs: Inputs, lengths: IntArray, rows: npt.NDArray[np.int64]
    ) -> WindowBatch:
        config = self._config
        windows = windows_of(lengths, config.window, config.stride, config.long_text == "cut")
        official = config.pad_attention == "official"
        longest = config.window if official else max(1, int(windows.length.max(initial=1)))
        starts = offsets_of(lengths)[:-1][windows.owner] + windows.start
        place = position_of_each(offsets_of(windows.length))
        within = np.repeat(np.arange(len(windows)) * longest, windows.length) + place
        seen = np.full((len(windows), longest), True)
        if not official:
            seen = np.arange(longest) < windows.length[:, None]
        return WindowBatch(
            inputs,
            torch.from_numpy(span_indices(starts, windows.length)),
            torch.from_numpy(within),
            torch.from_numpy(seen),
            torch.from_numpy(windows.owner),
            torch.from_numpy(self.labels[rows]),
        )


def _draw_limits(n: int, k: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Half of the texts keep all columns, the others 1 to ``k``, small numbers as often as large.

    The logarithm of the number is uniform: the step from 5 to 10 columns matters more than that
    from 95 to 100.
    """
    drawn = np.exp(generator.random(n) * np.log(k + 1)).astype(np.int64)
    return np.where(generator.random(n) < 0.5, np.clip(drawn, 1, k), k)
