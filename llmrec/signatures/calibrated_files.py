"""Saved detectors: the scorer's own directory, the calibration sample, and one JSON file.

``detector.json`` is written last and marks a whole directory; it holds a hash of every other file,
so that calibration and weights cannot be mixed up. Scores, labels and numbers of groups are kept of
the calibration sample, and nothing that the records say. Loading runs no code from the directory.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import llmrec
from llmrec.errors import ConfigError
from llmrec.signatures.decision.calibration import Calibration
from llmrec.signatures.decision.selective import SelectiveAnswering
from llmrec.signatures.decision.thresholds import Threshold
from llmrec.signatures.drift import DriftReference
from llmrec.signatures.los_net.origins import Origin
from llmrec.signatures.manifests import checked_manifest, hashes_of
from llmrec.storage import atomic_directory

if TYPE_CHECKING:
    from llmrec.signatures.calibrated import CalibratedDetector

MANIFEST, SAMPLE, SCORER = "detector.json", "calibration.safetensors", "scorer"
_FORMAT = 1
_REQUIRED = {"calibration", "threshold", "promise", "origins", "reference", "card"}

_Detector = TypeVar("_Detector", bound="CalibratedDetector")


def save(detector: "CalibratedDetector", directory: str | Path) -> None:
    """Write a detector, whole or not at all.

    Raises:
        ConfigError: It is not calibrated, or its scorer cannot be saved.
        ArtifactError: The directory exists and is something else.
    """
    from safetensors.numpy import save_file

    sample, calibration, reference = detector.sample, detector.calibration, detector.reference
    if sample is None or calibration is None or reference is None:
        raise ConfigError("this detector is not calibrated; call calibrate before saving it.")
    save_scorer = getattr(detector.scorer, "save_pretrained", None)
    if save_scorer is None:
        raise ConfigError(f"{type(detector.scorer).__name__} has no save_pretrained.")
    with atomic_directory(directory, MANIFEST) as folder:
        save_scorer(folder / SCORER)
        arrays = {"scores": sample.scores, "labels": sample.labels, "groups": sample.groups}
        save_file(arrays, folder / SAMPLE)
        manifest = {
            "format": _FORMAT,
            "model": "calibrated_detector",
            "llmrec": llmrec.__version__,
            "calibration": calibration.to_json(),
            "threshold": None if detector.threshold is None else detector.threshold.to_json(),
            "promise": None if detector.promise is None else detector.promise.to_json(),
            "origins": [origin.to_json() for origin in detector.origins],
            "reference": reference.to_json(),
            "card": detector.card,
            "sha256": hashes_of(folder),
        }
        text = json.dumps(manifest, indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load(kind: type[_Detector], name: str | Path) -> _Detector:
    """Read what :func:`save` wrote.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    from safetensors.numpy import load_file

    from llmrec.signatures.calibrated import CalibrationSample
    from llmrec.signatures.detectors import load_detector

    folder = Path(name)
    absent = "is no detector ready for use ('llmrec signatures train' makes one)"
    manifest = checked_manifest(
        folder / MANIFEST, "calibrated_detector", _FORMAT, _REQUIRED, "a detector", absent
    )
    detector = kind(load_detector(folder / SCORER))
    detector.calibration = Calibration.from_json(manifest["calibration"])
    detector.reference = DriftReference.from_json(manifest["reference"])
    detector.origins = tuple(Origin.from_json(values) for values in manifest["origins"])
    detector.sample = CalibrationSample(**load_file(folder / SAMPLE))
    detector.card = dict(manifest["card"])
    if manifest["threshold"] is not None:
        detector.threshold = Threshold.from_json(manifest["threshold"])
    if manifest["promise"] is not None:
        detector.promise = SelectiveAnswering.from_json(manifest["promise"])
    return detector
