"""Codebooks as arrays: what gives a vector its codes, and back.

An encoder before the codebooks (that of an RQ-VAE) is a chain of linear layers with ReLU between
them. Only NumPy is needed to encode a new item.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.hashing import hash_arrays
from llmrec.recommenders.onerec.tokenizer.kmeans import nearest_codes

FloatArray = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Codebooks:
    """Centroids of all levels, and the encoder before them.

    Attributes:
        centroids: Per level ``[codes, d]`` float32.
        encoder: Weights ``[out, in]`` and biases ``[out]`` of the encoder's layers; none for codes
            of the vectors themselves.
    """

    centroids: tuple[FloatArray, ...]
    encoder: tuple[tuple[FloatArray, FloatArray], ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return tuple(len(level) for level in self.centroids)

    @property
    def dim(self) -> int:
        """Length of the vectors that go in."""
        first = self.encoder[0][0] if self.encoder else self.centroids[0]
        return int(first.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all arrays."""
        return hash_arrays(self.to_arrays())

    def latent(self, values: FloatArray) -> FloatArray:
        """What is quantised: the encoder's output ``[n, d]``, or the vectors themselves."""
        for number, (weight, bias) in enumerate(self.encoder):
            values = values @ weight.T + bias
            if number + 1 < len(self.encoder):
                values = np.maximum(values, 0)
        return np.ascontiguousarray(values, dtype=np.float32)

    def encode(self, values: FloatArray) -> Int32Array:
        """The nearest centroid at every level: ``[n, levels]``."""
        residual = torch.from_numpy(np.array(self.latent(values)))
        columns = []
        for level in self.centroids:
            table = torch.from_numpy(level)
            codes = nearest_codes(residual, table)
            residual -= table[codes]
            columns.append(codes.numpy().astype(np.int32))
        return np.stack(columns, axis=1)

    def residuals(self, values: FloatArray, codes: Int32Array, level: int) -> FloatArray:
        """What ``codes`` leave over before ``level``: ``[n, d]``; level ``levels`` is the end."""
        left = np.array(self.latent(values))
        for number in range(level):
            left -= self.centroids[number][codes[:, number]]
        return left

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays by name."""
        named: dict[str, npt.NDArray[Any]] = {}
        for number, level in enumerate(self.centroids):
            named[f"codebook.{number}"] = level
        for number, (weight, bias) in enumerate(self.encoder):
            named[f"encoder.{number}.weight"], named[f"encoder.{number}.bias"] = weight, bias
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Inverse of :meth:`to_arrays`; other names are passed over."""
        levels = sum(name.startswith("codebook.") for name in arrays)
        layers = sum(name.startswith("encoder.") for name in arrays) // 2
        return cls(
            tuple(arrays[f"codebook.{number}"] for number in range(levels)),
            tuple(
                (arrays[f"encoder.{number}.weight"], arrays[f"encoder.{number}.bias"])
                for number in range(layers)
            ),
        )
