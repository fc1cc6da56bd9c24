"""An alarm when records are no longer like those a detector was fitted on.

Five numbers are taken of every record (entropy, probability of the best token, tail mass, number of
values received, length) and each is compared with its values at reference time, by two statistics:

- **KS** (Kolmogorov and Smirnov), with its p-value: is there a difference at all?
- **PSI** (population stability index), ``sum (q - p) log(q / p)`` over ten quantile bins of the
  reference: is it large enough to matter? Credit scoring calls .1 noticeable and .25 large; in
  small samples chance alone gives about ``bins (1/n + 1/m)``, so it never alarms by itself.

A number drifts where its p-value is at most ``false_alarms / 5`` (Bonferroni over the five) *and*
its PSI is above ``psi_limit``; with records that are independent, a check alarms falsely with
probability at most ``false_alarms``. Ties make KS conservative. A change of mode, kind or
fingerprint is no matter of chance and is named by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.inference.signature import SignatureRecord

Values = npt.NDArray[np.float64]

FEATURES = ("entropy", "top1", "tail_mass", "received", "length")
"""Per record: mean entropy of the received values and the tail (nats), mean probability of the best
token, mean tail mass, mean number of values received, number of positions."""

_BINS = 10
_KEPT = 2000
_HALF = 0.5  # of an item in every bin, so that an empty one has a logarithm


@dataclass(frozen=True)
class FeatureDrift:
    """How one number differs from its reference.

    Attributes:
        name: One of :data:`FEATURES`.
        psi: Population stability index.
        ks: Largest distance of the distribution functions.
        p_value: Of that distance.
        before: Mean at reference time.
        now: Mean of the new records.
        drifts: Whether this alarms.
    """

    name: str
    psi: float
    ks: float
    p_value: float
    before: float
    now: float
    drifts: bool


@dataclass(frozen=True)
class DriftReport:
    """What :meth:`DriftReference.check` found.

    Attributes:
        n: Records that were checked.
        features: One entry per number.
        changed: Sentences on what changed in mode, kind or fingerprint.
    """

    n: int
    features: tuple[FeatureDrift, ...]
    changed: tuple[str, ...] = ()

    @property
    def alarm(self) -> bool:
        """Whether anything drifts or changed."""
        return bool(self.changed) or any(feature.drifts for feature in self.features)

    @property
    def sentence(self) -> str:
        """What to tell the one who watches."""
        if not self.alarm:
            return f"{self.n} records are like those of the reference."
        moved = [
            f"{f.name} {f.before:.3g} -> {f.now:.3g} (PSI {f.psi:.2f}, p {f.p_value:.2g})"
            for f in self.features
            if f.drifts
        ]
        return f"{self.n} records differ from the reference: {'; '.join([*self.changed, *moved])}."

    def to_json(self) -> dict[str, Any]:
        """Plain values, the sentence included."""
        rows = [vars(feature) for feature in self.features]
        about = {"n": self.n, "alarm": self.alarm, "changed": list(self.changed)}
        return about | {"features": rows, "sentence": self.sentence}


@dataclass(frozen=True)
class DriftReference:
    """What records were like when a detector was fitted.

    Attributes:
        values: Sorted values of each of :data:`FEATURES`, thinned evenly to 2,000.
        n: Records they come from.
        sources: Mode, kind and fingerprint of the sources, as ``name: (values, ...)``.
    """

    values: Mapping[str, Values] = field(repr=False)
    n: int
    sources: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, records: Sequence[SignatureRecord]) -> "DriftReference":
        """Describe records.

        Raises:
            DataError: There are none.
        """
        table = features(records)
        values = {name: _thinned(np.sort(table[:, i])) for i, name in enumerate(FEATURES)}
        return cls(values, len(records), _sources(records))

    def check(
        self,
        records: Sequence[SignatureRecord],
        false_alarms: float = 0.01,
        psi_limit: float = 0.1,
    ) -> DriftReport:
        """Compare new records with the reference.

        Args:
            records: New records, those of some hours or days together.
            false_alarms: Largest probability of an alarm where nothing changed.
            psi_limit: PSI below which a difference does not matter.

        Raises:
            DataError: There are no records.
            ConfigError: ``false_alarms`` is no share.
        """
        if not 0 < false_alarms < 1:
            raise ConfigError(f"false_alarms is {false_alarms}; expected a share between 0 and 1.")
        table = features(records)
        level = false_alarms / len(FEATURES)
        found = tuple(
            _compare(name, self.values[name], table[:, i], level, psi_limit)
            for i, name in enumerate(FEATURES)
        )
        return DriftReport(len(records), found, self._changes(_sources(records)))

    def _changes(self, now: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        sentences = []
        for name, values in now.items():
            before = self.sources.get(name, ())
            new = [value for value in values if value not in before]
            if new:
                was = " and ".join(before) or "nothing"
                sentences.append(f"{name} was {was} and is {' and '.join(new)}")
        return tuple(sentences)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: found.tolist() for name, found in self.values.items()}
        sources = {name: list(found) for name, found in self.sources.items()}
        return {"values": values, "n": self.n, "sources": sources}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DriftReference":
        """Inverse of :meth:`to_json`.

        Raises:
            ArtifactError: A value is missing or of another kind.
        """
        try:
            arrays = {name: np.array(values["values"][name], dtype=np.float64) for name in FEATURES}
            sources = {str(k): tuple(map(str, v)) for k, v in values["sources"].items()}
            return cls(arrays, int(values["n"]), sources)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"a saved drift reference is damaged: {error!r}.") from None


def features(records: Sequence[SignatureRecord]) -> Values:
    """The numbers of each record: ``[n, 5]`` in the order of :data:`FEATURES`.

    A record without positions counts as certain: entropy and tail 0, best probability 1.

    Raises:
        DataError: There are no records.
    """
    if not records:
        raise DataError("there are no records to describe; give at least one.")
    lengths = np.array([len(record) for record in records])
    rows = np.tile([0.0, 1.0, 0.0, 0.0, 0.0], (len(records), 1))
    full = lengths > 0
    if full.any():
        starts = np.append(0, np.cumsum(lengths[full])[:-1])
        sums = np.add.reduceat(_numbers(records), starts, axis=0)
        rows[full, :4] = sums / lengths[full, None]
    rows[:, 4] = lengths
    return rows


def psi(reference: Values, new: Values, bins: int = _BINS) -> float:
    """Population stability index over quantile bins of the reference.

    Equal values share a bin, and a frequent one has a bin of its own. Half an item is added to
    each bin, so that empty ones have a logarithm.

    >>> psi(np.arange(100.0), np.arange(100.0))
    0.0
    """
    quantiles = np.quantile(reference, np.arange(1, bins) / bins, method="lower")
    edges, spans = np.unique(quantiles, return_counts=True)
    # a value that fills a bin by itself is cut off from those below it
    frequent = np.nextafter(edges[spans > 1], -np.inf)
    cuts = np.sort(np.concatenate([edges, frequent]))
    p = _shares(reference, cuts)
    q = _shares(new, cuts)
    return float(((q - p) * np.log(q / p)).sum())


def _shares(values: Values, cuts: Values) -> Values:
    counts = np.bincount(np.searchsorted(cuts, values), minlength=cuts.size + 1)
    padded = counts + _HALF
    return np.asarray(padded / padded.sum(), dtype=np.float64)


def _numbers(records: Sequence[SignatureRecord]) -> Values:
    """The first four of :data:`FEATURES` at every position of all records: ``[positions, 4]``."""
    k = max(record.k for record in records)
    n = sum(len(record) for record in records)
    logprobs, valid = np.zeros((n, k)), np.zeros((n, k), dtype=np.bool_)
    start = 0
    for record in records:
        stop = start + len(record)
        logprobs[start:stop, : record.k] = record.topk_logprobs
        valid[start:stop, : record.k] = record.topk_valid
        start = stop
    probabilities = np.where(valid, np.exp(logprobs), 0.0)
    log_tail = np.concatenate([record.tail_logmass for record in records]).astype(np.float64)
    tail = np.exp(log_tail)
    entropy = -(probabilities * logprobs).sum(axis=1) - tail * log_tail
    best = probabilities.max(axis=1, initial=0.0)
    return np.stack([entropy, best, tail, valid.sum(axis=1)], axis=1)


def _compare(
    name: str, reference: Values, new: Values, level: float, psi_limit: float
) -> FeatureDrift:
    from scipy.stats import ks_2samp

    tested = ks_2samp(reference, new, method="asymp")
    index = psi(reference, new)
    drifts = bool(tested.pvalue <= level and index > psi_limit)
    return FeatureDrift(
        name,
        index,
        float(tested.statistic),
        float(tested.pvalue),
        float(reference.mean()),
        float(new.mean()),
        drifts,
    )


def _thinned(values: Values) -> Values:
    if values.size <= _KEPT:
        return values
    return values[np.linspace(0, values.size - 1, _KEPT).round().astype(np.int64)]


def _sources(records: Sequence[SignatureRecord]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {"mode": set(), "kind": set()}
    for record in records:
        found["mode"].add(record.mode)
        found["kind"].add(record.kind)
        for name, value in record.fingerprint.items():
            found.setdefault(f"fingerprint {name}", set()).add(str(value))
    return {name: tuple(sorted(values)) for name, values in found.items()}
