"""Where records came from, and whether a detector may judge them.

A detector learns how one source writes its values. Processed values where raw ones were learnt,
another tokenizer, an end-of-text position that comes or goes: each moves the score, so records are
refused unless the caller says that it is meant.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmrec.errors import DataError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.config import Policy

OnMismatch = Literal["error", "warn"]

_FIELDS: dict[Policy, tuple[str, ...]] = {
    "mode": (),
    "tokenizer": ("tokenizer",),
    "model": ("tokenizer", "model", "weights", "adapter"),
}


@dataclass(frozen=True, order=True)
class Origin:
    """What records of one source have in common.

    Attributes:
        mode: As in the record.
        kind: As in the record.
        identity: Names and values of the fingerprint, as far as the policy looks at them.
    """

    mode: str
    kind: str
    identity: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        named = [f"{name} {value}" for name, value in self.identity]
        return ", ".join([f"mode {self.mode}", f"kind {self.kind}", *named])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"mode": self.mode, "kind": self.kind, "identity": dict(self.identity)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Origin":
        """Inverse of :meth:`to_json`."""
        return cls(values["mode"], values["kind"], tuple(sorted(values["identity"].items())))


def origins_of(records: Iterable[SignatureRecord], policy: Policy) -> tuple[Origin, ...]:
    """The sources of records, each once, in order."""
    names = _FIELDS[policy]
    found = {
        Origin(
            record.mode,
            record.kind,
            tuple(
                (n, str(record.fingerprint[n])) for n in sorted(names) if n in record.fingerprint
            ),
        )
        for record in records
    }
    return tuple(sorted(found))


def check_origins(
    known: Sequence[Origin], given: Sequence[Origin], on_mismatch: OnMismatch
) -> None:
    """Refuse sources that the detector was not trained on.

    Raises:
        DataError: A source is not among the known ones; the sentence names what differs.
    """
    new = [origin for origin in given if origin not in known]
    if not new or not known:
        return
    trained = "; ".join(map(str, known[:3]))
    report(
        f"this detector was trained on records of {trained}, and is given records of {new[0]}",
        "fine_tune it on a few hundred labels of that source",
        on_mismatch,
    )


def report(difference: str, remedy: str, on_mismatch: OnMismatch) -> None:
    """Raise or warn about a difference between training and scoring.

    Raises:
        DataError: ``on_mismatch`` is ``"error"``.
    """
    if on_mismatch == "error":
        raise DataError(f"{difference}; {remedy}, or pass on_mismatch='warn' to go on.")
    warnings.warn(f"{difference}; scores may be off.", UserWarning, stacklevel=4)
