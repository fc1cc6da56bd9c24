"""Risks of records from scorers that did not see them, for labelled logs that are all there is."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.contracts import RiskScorer
from llmrec.errors import DataError
from llmrec.signatures.decision.labelled import group_codes
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import require_disjoint

FOLDS = 5


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Risks from outside.

    Attributes:
        risks: ``[n]`` float32, each by a scorer that learnt from the other parts.
        scorers: One per part.
        owner: ``[n]`` which scorer judged a record.
    """

    risks: npt.NDArray[np.float32]
    scorers: tuple[RiskScorer, ...]
    owner: npt.NDArray[np.int64]

    def scorer_of(self, row: int) -> RiskScorer:
        """Who judged a record."""
        return self.scorers[int(self.owner[row])]


def cross_fit(
    make: Callable[[], RiskScorer], signatures: SignatureSet, parts: Sequence[Hashable]
) -> CrossFit:
    """Judge every part by a scorer that learnt from the others.

    Args:
        make: A scorer that has learnt nothing.
        signatures: Labelled records.
        parts: A part for each record, for instance its task: leave one task out.

    Raises:
        ProtocolError: A group lies in two parts.
        DataError: There is one part only, or a part leaves labels of one class to learn from.
    """
    owner = group_codes(parts, len(signatures))
    _check(owner, parts, signatures)
    labels = signatures.labels
    risks = np.zeros(len(signatures), dtype=np.float32)
    scorers = []
    for part in range(int(owner.max()) + 1):
        inside = owner == part
        learn = signatures.take(np.flatnonzero(~inside))
        scorer = make().fit(learn.records, labels[~inside], learn.groups)
        risks[inside] = scorer.predict_risk(signatures.take(np.flatnonzero(inside)).records)
        scorers.append(scorer)
    return CrossFit(risks, tuple(scorers), owner)


def fold_of_group(groups: Sequence[Hashable], folds: int = FOLDS, seed: int = 0) -> list[int]:
    """A part for every record, so that no group is torn and parts are about equal in groups."""
    codes = group_codes(groups, len(groups))
    drawn = np.random.default_rng([seed, 17]).permutation(int(codes.max(initial=-1)) + 1)
    found: list[int] = (drawn[codes] % folds).tolist()
    return found


def _check(
    owner: npt.NDArray[np.int64], parts: Sequence[Hashable], signatures: SignatureSet
) -> None:
    if not owner.size or owner.max() == 0:
        raise DataError(
            f"{owner.size} records in one part: there is nothing to learn from; give at least two "
            "parts."
        )
    groups: dict[str, list[str]] = {}
    for part, group in zip(parts, signatures.groups, strict=True):
        groups.setdefault(f"part {part}", []).append(group)
    require_disjoint(groups)
