"""What the iterations in a folder were made with, so that only the same alignment goes on there."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.data.hashing import hash_arrays
from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.storage import read_json, require_finished, require_place, write_json

if TYPE_CHECKING:
    from accelerate.state import PartialState

_ABOUT = "about.json"  # by which a folder of iterations is recognised
_FINISHED = "finished.json"  # of all iterations, written last
CHANGES_NOTHING = {"iterations", "allow_stale"}  # in an iteration that is there
CHANGES_NOTHING_IN_TRAINING = {"report_to", "checkpoint_every", "checkpoint_steps"}


def told(config: AlignmentConfig, train: Histories, policy: str, reward: str) -> dict[str, Any]:
    """What iterations depend on, as JSON values.

    Args:
        config: The settings.
        train: The training events.
        policy: Version of the policy before the first iteration.
        reward: Version of the reward model.
    """
    exclude: Any = dict.fromkeys(CHANGES_NOTHING, True)
    exclude["training"] = CHANGES_NOTHING_IN_TRAINING
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


def keep_finished(folder: Path, iterations: int) -> None:
    """Write that all iterations came to their end."""
    write_json(folder / _FINISHED, {"iterations": iterations})


def begin_anew(folder: Path, state: "PartialState") -> None:
    """Remove an alignment that came to its end.

    Args:
        folder: Where iterations are kept; it may be missing or empty.
        state: The processes; all call this.

    Raises:
        ArtifactError: The folder holds something else, or an alignment that was broken off.
    """
    require_place(folder, _ABOUT)
    require_finished(folder, folder / _FINISHED)
    state.wait_for_everyone()  # nobody removes before everybody has looked
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
    state.wait_for_everyone()


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{above}{name}.") if inner else {f"{above}{name}": value}
    return flat
