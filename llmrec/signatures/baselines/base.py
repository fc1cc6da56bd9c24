"""What all baselines share: checks, splitting off validation records, saving.

A baseline is a :class:`~llmrec.contracts.RiskScorer`. Like LOS-Net it learns on one part and
chooses on another, refuses records of another mode, kind or tokenizer, and is saved as safetensors
and JSON.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from scipy.special import expit

import llmrec
from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.config import Policy, Task
from llmrec.signatures.los_net.holdout import checked_labels, hold_out
from llmrec.signatures.los_net.origins import OnMismatch, Origin, check_origins, origins_of
from llmrec.storage import atomic_directory, file_sha256, read_json

MANIFEST, ARRAYS = "baseline.json", "baseline.safetensors"
_FORMAT = 1
_VALIDATION_SHARE = 0.2

Records = Sequence[SignatureRecord]
Labels = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]


class Baseline(ABC):
    """A method that a detector is compared with.

    Args:
        task: What risk means: the answer is wrong, or the text was trained on.
        seed: Of everything that is drawn.
        fingerprint_policy: What must be as in training, as in
            :class:`~llmrec.signatures.los_net.LOSNetConfig`.

    Attributes:
        name: What it is called in tables.
        uses_seed: Whether another seed gives another model.
        origins: The sources it was trained on.
    """

    name: str
    uses_seed: ClassVar[bool] = False

    def __init__(
        self, task: Task = "correctness", seed: int = 0, fingerprint_policy: Policy = "tokenizer"
    ) -> None:
        self.task = task
        self.seed = seed
        self.fingerprint_policy = fingerprint_policy
        self.origins: tuple[Origin, ...] = ()
        self.is_fitted = False

    def fit(
        self,
        records: Records,
        labels: npt.ArrayLike,
        groups: Sequence[Hashable] | None = None,
        validation: tuple[Records, npt.ArrayLike] | None = None,
    ) -> Self:
        """Learn from labelled records.

        Args:
            records: Signatures.
            labels: ``[n]`` 1 for risk.
            groups: What must not be torn when validation records are split off.
            validation: Records and labels to choose settings by; None splits a fifth off.

        Raises:
            DataError: Labels or groups do not fit, there is one label only, or the records lack
                what the method needs.
        """
        given = checked_labels(labels, len(records))
        if validation is None:
            learn, held = hold_out(given, groups, _VALIDATION_SHARE, self.seed)
            train = ([records[i] for i in learn], given[learn])
            valid = ([records[i] for i in held], given[held])
        else:
            train = (list(records), given)
            valid = (
                list(validation[0]),
                checked_labels(validation[1], len(validation[0])),
            )
        self._fit(*train, *valid)
        self.origins = origins_of(records, self.fingerprint_policy)
        self.is_fitted = True
        return self

    def predict_logit(self, records: Records, *, on_mismatch: OnMismatch = "error") -> Values:
        """Log-odds of risk: ``[n]`` float64.

        Probabilities within 1e-6 of 1 are told apart by some models, and float32 would not do that
        once a score is shifted and scaled.

        Raises:
            ConfigError: It is not fitted.
            DataError: Records are unlike those of training, or lack what the method needs.
        """
        if not self.is_fitted:
            raise ConfigError(f"the baseline {self.name} is not fitted; call fit first.")
        given = origins_of(records, self.fingerprint_policy)
        check_origins(self.origins, given, on_mismatch)
        return np.asarray(self._logits(records), dtype=np.float64)

    def predict_risk(self, records: Records, *, on_mismatch: OnMismatch = "error") -> Labels:
        """Probability of risk: ``[n]`` float32; arguments as for :meth:`predict_logit`."""
        logits = self.predict_logit(records, on_mismatch=on_mismatch)
        return np.asarray(expit(logits), dtype=np.float32)

    @abstractmethod
    def _fit(self, records: Records, labels: Labels, held: Records, held_labels: Labels) -> None:
        """Learn on some records and choose on others."""

    @abstractmethod
    def _logits(self, records: Records) -> Values:
        """Log-odds of risk of any records."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], Arrays]:
        """Plain values and arrays that :meth:`_restore` needs."""

    @abstractmethod
    def _restore(self, values: Mapping[str, Any], arrays: Arrays) -> None:
        """Become what :meth:`_state` described."""

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model to a directory, whole or not at all.

        Raises:
            ConfigError: It is not fitted.
            ArtifactError: The directory exists and is something else.
        """
        if not self.is_fitted:
            raise ConfigError(f"the baseline {self.name} is not fitted; call fit first.")
        values, arrays = self._state()
        with atomic_directory(directory, MANIFEST) as folder:
            tidy = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            safetensors.numpy.save_file(tidy, folder / ARRAYS)
            manifest = {
                "format": _FORMAT,
                "model": self.name,
                "llmrec": llmrec.__version__,
                "task": self.task,
                "seed": self.seed,
                "fingerprint_policy": self.fingerprint_policy,
                "origins": [origin.to_json() for origin in self.origins],
                "state": values,
                "sha256": file_sha256(folder / ARRAYS),
            }
            text = json.dumps(manifest, indent=2, allow_nan=False)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    def _load(self, manifest: Mapping[str, Any], arrays: Arrays) -> Self:
        self.origins = tuple(Origin.from_json(one) for one in manifest["origins"])
        self._restore(manifest["state"], arrays)
        self.is_fitted = True
        return self


def read_manifest(directory: str | Path) -> tuple[dict[str, Any], Arrays]:
    """The description and the arrays of a saved baseline.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    folder = Path(directory)
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} is not a saved baseline: it has no {MANIFEST}.")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ArtifactError(f"{folder / MANIFEST} is not of format {_FORMAT}.")
    path = folder / ARRAYS
    if not path.is_file() or file_sha256(path) != manifest.get("sha256"):
        raise ArtifactError(f"{path} is missing or does not match its hash; it was changed.")
    try:
        return manifest, safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} is damaged: {error}.") from None
