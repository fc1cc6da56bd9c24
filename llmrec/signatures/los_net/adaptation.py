"""A LOS-Net on another source, with few labels: fine-tuned, and weighed against a plain score.

A network goes astray where the other source's values lie outside of what it has seen; a few hundred
labels do not always bring it back, and then the largest probability alone, which needs no label,
orders the answers better. So the fine-tuned network must show on the labels, by networks that have
not seen them, that it adds something (:mod:`~llmrec.signatures.los_net.weighing`).
"""

import json
from collections.abc import Hashable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

import llmrec
from llmrec.errors import ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.baselines.scores import score_records
from llmrec.signatures.cross_fit import fold_of_group
from llmrec.signatures.los_net.holdout import checked_labels
from llmrec.signatures.los_net.model import LOSNet
from llmrec.signatures.los_net.origins import OnMismatch
from llmrec.signatures.los_net.weighing import Weighing, weigh
from llmrec.signatures.manifests import checked_manifest, hashes_of
from llmrec.storage import atomic_directory

MANIFEST, TUNED = "adapted_los_net.json", "tuned"
_FORMAT = 1
_REQUIRED = {"plain", "folds", "fine_tune", "weighing"}

Values = npt.NDArray[np.float64]
Records = Sequence[SignatureRecord]


class AdaptedLOSNet:
    """A detector of another source; a :class:`~llmrec.contracts.RiskScorer`.

    Args:
        model: A fitted LOS-Net; it stays as it is.
        plain: Name of the single score to weigh against, one of
            :data:`~llmrec.signatures.baselines.scores.SCORES`.
        folds: Networks fine-tuned besides, each on the labels of the others.
        fine_tune: Changed settings of :meth:`LOSNet.fine_tune`.

    Attributes:
        tuned: The network fine-tuned on all labels, after fitting.
        weighing: What counts how much, after fitting.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> model = LOSNet(k=5, hidden=16, training={"epochs": 2})
        >>> model = model.fit(*labelled_signatures(60, seed=0))
        >>> other = {"tokenizer": "another"}
        >>> records, labels = labelled_signatures(60, seed=1, fingerprint=other)
        >>> AdaptedLOSNet(model, epochs=1).fit(records, labels).predict_risk(records).shape
        (60,)
    """

    def __init__(
        self, model: LOSNet, plain: str = "mean_logprob", folds: int = 4, **fine_tune: Any
    ) -> None:
        if folds < 2:
            raise ConfigError(f"folds is {folds}; at least 2 are needed to judge from outside.")
        self.model = model
        self.plain = plain
        self.folds = folds
        self.fine_tune = fine_tune
        self.tuned: LOSNet | None = None
        self.weighing: Weighing | None = None

    def fit(
        self,
        records: Records,
        labels: npt.ArrayLike,
        groups: Sequence[Hashable] | None = None,
    ) -> Self:
        """Adapt to a few labelled records of the other source.

        Args:
            records: Signatures, two hundred or so.
            labels: ``[n]`` 1 for risk.
            groups: What the folds must not tear.

        Raises:
            DataError: Labels or groups do not fit the records, there is one label only, or a fold
                leaves labels of one class.
            ConfigError: The model is not fitted, or there is no such single score.
        """
        given = checked_labels(labels, len(records))
        plain = self._plain(records)
        parts: Sequence[Hashable] = range(len(records)) if groups is None else groups
        fold_of = np.array(fold_of_group(parts, self.folds))
        outside = np.empty(len(records))
        for fold in np.unique(fold_of):
            inside = fold_of == fold
            tuned = self._tuned(list(compress(records, ~inside)), given[~inside])
            held = list(compress(records, inside))
            outside[inside] = tuned.predict_logit(held, on_mismatch="warn")
        self.weighing = weigh(plain, outside, given)
        self.tuned = self._tuned(records, given)
        return self

    def predict_logit(self, records: Records, *, on_mismatch: OnMismatch = "error") -> Values:
        """Log-odds of risk: ``[n]`` float64; arguments as for :meth:`predict_risk`."""
        tuned, weighing = self._fitted()
        learnt = tuned.predict_logit(records, on_mismatch=on_mismatch)
        if not len(records):
            return np.empty(0)
        return weighing(self._plain(records), learnt)

    def predict_risk(
        self, records: Records, *, on_mismatch: OnMismatch = "error"
    ) -> npt.NDArray[np.float32]:
        """Probability of risk: ``[n]`` float32 between 0 and 1.

        Args:
            records: Signatures.
            on_mismatch: What to do with records unlike those adapted to.

        Raises:
            DataError: Records are unlike those adapted to.
            ConfigError: It is not fitted.
        """
        logits = self.predict_logit(records, on_mismatch=on_mismatch)
        return np.asarray(expit(logits), dtype=np.float32)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the detector to a directory, whole or not at all; the model it came from is not in.

        Raises:
            ConfigError: It is not fitted.
            ArtifactError: The directory exists and is something else.
        """
        tuned, weighing = self._fitted()
        with atomic_directory(directory, MANIFEST) as folder:
            tuned.save_pretrained(folder / TUNED)
            manifest = {
                "format": _FORMAT,
                "model": "adapted_los_net",
                "llmrec": llmrec.__version__,
                "plain": self.plain,
                "folds": self.folds,
                "fine_tune": self.fine_tune,
                "weighing": weighing.to_json(),
                "sha256": hashes_of(folder),
            }
            text = json.dumps(manifest, indent=2, allow_nan=False)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Read a detector from a directory; fitting it again goes on from its tuned network.

        Raises:
            ArtifactError: It is missing, incomplete, changed, or of another kind.
        """
        folder = Path(name)
        manifest = checked_manifest(
            folder / MANIFEST,
            "adapted_los_net",
            _FORMAT,
            _REQUIRED,
            "an adapted LOS-Net",
            "is not a saved AdaptedLOSNet",
        )
        tuned = LOSNet.from_pretrained(folder / TUNED)
        found = cls(tuned, manifest["plain"], int(manifest["folds"]), **manifest["fine_tune"])
        found.tuned, found.weighing = tuned, Weighing.from_json(manifest["weighing"])
        return found

    def _plain(self, records: Records) -> Values:
        """The single score, higher for more risk; a record without one has the mean of the rest."""
        sign = 1.0 if self.model.config.task == "correctness" else -1.0
        found = sign * score_records(self.plain, records)
        known = ~np.isnan(found)
        return np.where(known, found, found[known].mean() if known.any() else 0.0)

    def _tuned(self, records: Records, labels: npt.NDArray[np.float32]) -> LOSNet:
        return self.model.fine_tune(records, labels, **self.fine_tune)

    def _fitted(self) -> tuple[LOSNet, Weighing]:
        if self.tuned is None or self.weighing is None:
            raise ConfigError(
                "this AdaptedLOSNet is not fitted; call fit or from_pretrained first."
            )
        return self.tuned, self.weighing
