"""Risks with labels, checked once: what every function of this package begins with.

Refuses, by sentence, what has no answer: nothing at all, lengths that differ, NaN, labels that are
not 0 or 1, and, where both are needed, labels of one class. Labels that look upside down are warned
about, because no figure shows it by itself.
"""

import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import auc

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_SURELY = 3.0  # standard errors below .5 from which an AUC is no accident


def checked_risks(risks: npt.ArrayLike) -> Values:
    """Risks as ``[n]`` float64.

    Raises:
        DataError: There is none, or one is NaN.
    """
    found = np.asarray(risks, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise DataError(f"risks have shape {found.shape}; give one number for each of some items.")
    if np.isnan(found).any():
        raise DataError(f"the risk of item {int(np.isnan(found).argmax())} is NaN.")
    return found


def checked_pairs(
    labels: npt.ArrayLike, risks: npt.ArrayLike, both: bool = True
) -> tuple[Values, Values]:
    """Labels and risks as ``[n]`` float64.

    Args:
        labels: 0, or 1 for what went wrong.
        risks: Higher for more risk.
        both: Refuse labels of one class.

    Raises:
        DataError: See the module.
    """
    found = checked_risks(risks)
    given = np.asarray(labels, dtype=np.float64)
    if given.shape != found.shape:
        raise DataError(f"{found.size} risks have labels of shape {given.shape}; give one each.")
    odd = np.flatnonzero((given != 0) & (given != 1))
    if odd.size:
        raise DataError(f"item {odd[0]} has label {given[odd[0]]}; labels are 0, or 1 for risk.")
    if both and given.min() == given.max():
        raise DataError(
            f"all {given.size} items have label {int(given[0])}: nothing can be learnt from labels "
            "of one class; add items of the other."
        )
    return given, found


def upside_down(labels: npt.ArrayLike, risks: npt.ArrayLike) -> str | None:
    """A sentence with the likely cause where the AUC lies below .5 by more than chance, else None.

    Chance is three standard deviations of the statistic of Mann and Whitney (1947).

    Raises:
        DataError: See the module.
    """
    given, found = checked_pairs(labels, risks)
    value = auc(given, found)
    wrong, right = given.sum(), (1 - given).sum()
    error = np.sqrt((wrong + right + 1) / (12 * wrong * right))
    if value >= 0.5 - _SURELY * error:
        return None
    return (
        f"AUC {value:.3f} is below .5: items with label 1 have the lower risks. Most likely the "
        "labels are upside down (1 must mean a wrong answer or a member, not a right one), or the "
        "score is one where high means good; turn one of them round."
    )


def warn_if_upside_down(labels: npt.ArrayLike, risks: npt.ArrayLike) -> None:
    """Warn with the sentence of :func:`upside_down`, if there is one."""
    sentence = upside_down(labels, risks)
    if sentence is not None:
        warnings.warn(sentence, UserWarning, stacklevel=3)


def group_codes(groups: Sequence[Hashable] | None, n: int) -> Codes:
    """Groups as numbers from 0, in order of appearance; None makes every item its own.

    Raises:
        DataError: There are not ``n`` of them.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise DataError(f"{n} items have {len(groups)} groups; give one each.")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], dtype=np.int64)


def one_per_group(groups: Sequence[Hashable] | None, n: int, seed: int = 0) -> Codes:
    """Rows of one item of every group, drawn at random; all rows where there are no groups."""
    codes = group_codes(groups, n)
    if groups is None:
        return codes
    shuffled = np.random.default_rng([seed, 11]).permutation(n)
    _, first = np.unique(codes[shuffled], return_index=True)
    return np.sort(shuffled[first])
