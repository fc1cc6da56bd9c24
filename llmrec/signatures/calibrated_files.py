"""Saved detectors: the scorer's own directory, the calibration sample, and one JSON file.

``detector.json`` is written last and marks a whole directory; it holds a hash of every other file,
so that calibration and weights cannot be mixed up. Scores, labels and numbers of groups are kept of
the calibration sample, and nothing that the records say. Loading runs no code from the directory.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import llmrec
from llmrec.errors import ArtifactError, ConfigError
from llmrec.signatures.decision.calibration import Calibration
from llmrec.signatures.decision.selective import SelectiveAnswering
from llmrec.signatures.decision.thresholds import Threshold
from llmrec.signatures.drift import DriftReference
from llmrec.signatures.los_net.origins import Origin
from llmrec.storage import atomic_directory, file_sha256, read_json

if TYPE_CHECKING:
    from llmrec.signatures.calibrated import CalibratedDetector

MANIFEST, SAMPLE, SCORER = "detector.json", "calibration.safetensors", "scorer"
_FORMAT = 1

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
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
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
            "sha256": {str(path.relative_to(folder)): file_sha256(path) for path in files},
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
    manifest = _checked_manifest(folder)
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


def _checked_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(
            f"{folder} is no detector ready for use: it has no {MANIFEST}; 'llmrec signatures "
            "train' makes one."
        )
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("model") != "calibrated_detector":
        raise ArtifactError(f"{folder / MANIFEST} does not describe a detector.")
    if manifest.get("format") != _FORMAT:
        raise ArtifactError(
            f"{folder}: format {manifest.get('format')} is not {_FORMAT}; it was written by llmrec "
            f"{manifest.get('llmrec')}."
        )
    needed = {"calibration", "threshold", "promise", "origins", "reference", "card", "sha256"}
    missing = sorted(needed - manifest.keys())
    if missing:
        raise ArtifactError(f"{folder / MANIFEST} is incomplete: {', '.join(missing)}.")
    for name, expected in manifest["sha256"].items():
        file = folder / name
        inside = folder.resolve() in file.resolve().parents
        if not inside or not file.is_file() or file_sha256(file) != expected:
            raise ArtifactError(
                f"{file} is missing or does not match its hash in {MANIFEST}; it was changed."
            )
    return manifest
