"""Hold out whole groups to choose the weights by.

A group is whatever must not lie on both sides: a question asked in several ways, a subject, a
document. The draw aims at equal shares of risk on both sides where the groups leave a choice.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError

IntArray = npt.NDArray[np.int64]


def checked_labels(labels: npt.ArrayLike, n: int) -> npt.NDArray[np.float32]:
    """Labels as ``[n]`` float32, 1 for risk.

    Raises:
        DataError: Their number is not that of the records, one is not 0 or 1, or all are equal.
    """
    found = np.asarray(labels, dtype=np.float32)
    if found.shape != (n,):
        raise DataError(f"{n} records have labels of shape {found.shape}; give one label each.")
    odd = np.flatnonzero((found != 0) & (found != 1))
    if odd.size:
        raise DataError(f"record {odd[0]} has label {found[odd[0]]}; labels are 0, or 1 for risk.")
    if n == 0 or found.min() == found.max():
        what = "no records" if n == 0 else f"label {int(found[0])} on all {n} records"
        raise DataError(f"there is {what}: a detector needs examples of both labels.")
    return found


def hold_out(
    labels: npt.NDArray[np.float32],
    groups: Sequence[Hashable] | None,
    share: float,
    seed: int,
) -> tuple[IntArray, IntArray]:
    """Records to learn from and records to validate on.

    Args:
        labels: ``[n]``.
        groups: A group for each record; None makes every record its own.
        share: Of the records to hold out, met as closely as whole groups allow.
        seed: Of the draw.

    Raises:
        DataError: There are too few groups for both labels to be on both sides.
    """
    codes = _codes(groups, labels.size)
    sizes = np.bincount(codes)
    risks = np.bincount(codes, labels) / sizes
    # neighbours in this order are alike in risk; equal ones stay shuffled
    shuffled = np.random.default_rng([seed, 7]).permutation(sizes.size)
    order = shuffled[np.argsort(risks[shuffled], kind="stable")]
    held = np.zeros(sizes.size, dtype=bool)
    owed = 0.0  # records that should be held out by now and are not
    for group, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        owed += share * size
        if owed >= size / 2:
            held[group] = True
            owed -= size
    valid = held[codes]
    for side, name in ((~valid, "learn from"), (valid, "validate on")):
        if not side.any() or labels[side].min() == labels[side].max():
            raise DataError(
                f"the {sizes.size} groups of {labels.size} records leave one label only to "
                f"{name}; give more groups, or validation=(records, labels)."
            )
    return np.flatnonzero(~valid), np.flatnonzero(valid)


def _codes(groups: Sequence[Hashable] | None, n: int) -> IntArray:
    """Groups as numbers from 0."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise DataError(f"{n} records have {len(groups)} groups; give one each.")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], dtype=np.int64)
