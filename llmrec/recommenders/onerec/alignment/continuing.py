"""What the iterations in a folder were made with, so that only the same alignment goes on there."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmrec.data.hashing import hash_arrays
from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.storage import read_json, write_json

_ABOUT = "about.json"
CHANGES_NOTHING = {"iterations", "allow_stale"}  # in an iteration that is there
_CHANGES_NOTHING_IN_TRAINING = {"report_to", "checkpoint_every", "checkpoint_steps"}


def told(config: AlignmentConfig, train: Histories, policy: str, reward: str) -> dict[str, Any]:
    """What iterations depend on, as JSON values.

    Args:
        config: The settings.
        train: The training events.
        policy: Version of the policy before the first iteration.
        reward: Version of the reward model.
    """
    exclude: Any = dict.fromkeys(CHANGES_NOTHING, True)
    exclude["training"] = _CHANGES_NOTHING_IN_TRAINING
    origin = None if train.origin is None else asdict(train.origin)
    events = hash_arrays({"items": train.items, "offsets": train.offsets})[:16]
    return {
        "format": 1,
        "settings": config.model_dump(mode="json", exclude=exclude),
        "policy": policy,
        "reward": reward,
        "train": {"origin": origin, "events": events},
    }


def require_alike(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse to go on with iterations that were made with something else; nothing is written.

    Args:
        folder: Where iterations are kept; it may be empty.
        about: What they depend on, of :func:`told`.

    Raises:
        ArtifactError: Something differs, and the sentence names it, or it is not known.
    """
    if not (folder / _ABOUT).is_file():
        if (folder / "before.json").is_file():
            raise ArtifactError(
                f"{folder} holds iterations, but no {_ABOUT} that says what they were made with; "
                "align without resume, or remove the folder."
            )
        return
    there, now = _flat(read_json(folder / _ABOUT)), _flat(about)
    unlike = [
        name for name in sorted(there.keys() | now.keys()) if there.get(name) != now.get(name)
    ]
    if unlike:
        raise ArtifactError(
            f"{folder} holds iterations of another alignment (unlike: {', '.join(unlike)}); use "
            "what they were made with, or align without resume."
        )


def keep_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write what iterations depend on, unless it is there."""
    if not (folder / _ABOUT).is_file():
        write_json(folder / _ABOUT, about)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{above}{name}.") if inner else {f"{above}{name}": value}
    return flat
