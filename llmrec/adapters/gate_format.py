"""How gate weights are written: the bytes of one user's weights, checked before and after."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import ArtifactError, DataError

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GateFormat:
    """Shape and precision of stored weights.

    Attributes:
        shape: Gates and their width.
        dtype: ``float16`` or ``float32``.
    """

    shape: tuple[int, int]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes of one user's weights."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def fits(self, blob: object) -> bool:
        """Whether something read from a store can be weights."""
        return isinstance(blob, bytes) and len(blob) == self.size

    def checked(self, gates: npt.ArrayLike, owners: list[str]) -> npt.NDArray[Any]:
        """Weights of several users or groups as they will be stored.

        Args:
            gates: ``[n, gates, blocks]``.
            owners: What an error calls each of the n.

        Raises:
            DataError: The shape does not fit, or a weight is not finite in this precision.
        """
        try:
            values = np.asarray(gates, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"gates are not numbers: {error}.") from None
        if values.shape != (len(owners), *self.shape):
            raise DataError(
                f"gates of {len(owners)} users must have shape {[len(owners), *self.shape]}, found "
                f"{list(values.shape)}; are they of another model?"
            )
        with np.errstate(over="ignore"):
            stored = values.astype(self.dtype)
        finite = np.isfinite(stored).all(axis=(1, 2))
        if not finite.all():
            raise DataError(
                f"the gate of {owners[int(np.argmin(finite))]} is not finite in {self.dtype}; "
                "compute it again."
            )
        return stored

    def encode(self, gate: npt.NDArray[Any]) -> bytes:
        """Bytes of ``[gates, blocks]``."""
        return gate.astype(self.dtype).tobytes()

    def decode(self, blob: bytes) -> Array:
        """Inverse of :meth:`encode`, in float32.

        Raises:
            ArtifactError: The bytes are too few or too many: the file is damaged.
        """
        if not self.fits(blob):
            raise ArtifactError(
                f"the store's file is damaged: weights in it have {len(blob)} bytes in place of "
                f"{self.size}. 'llmrec adapters verify' says whose; 'llmrec adapters refresh' "
                "writes a user's gate anew."
            )
        return np.frombuffer(blob, dtype=self.dtype).reshape(self.shape).astype(np.float32)

    def none(self) -> Array:
        """``[0, gates, blocks]``."""
        return np.empty((0, *self.shape), dtype=np.float32)
