"""What an adapter store answers."""

from dataclasses import dataclass
from pathlib import Path

from llmrec.adapters.issued import Found


@dataclass(frozen=True)
class Adapter:
    """A materialised adapter.

    Attributes:
        name: Hash of its content; never given to another content.
        path: Folder in peft's layout.
        number: ``name`` as a whole number from 1 below 2^63, the same in every process.
        found: Whose weights it has: the user's own, those of their cluster's centroid, or for
            somebody without any the first of
            :data:`~llmrec.adapters.served.FALLBACKS` that there is.
        version: Version of the user's gate, 0 for somebody without one.
        error: Relative error where the rank was cut.
    """

    name: str
    path: Path
    number: int
    found: Found
    version: int
    error: float


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a user did.

    Attributes:
        known: Whether anything was stored about the user.
        removed: Names of the adapters that stood for this user alone, or for a mean that the user
            was in; they are void and deleted.
        in_use: Those of them that were pinned or leased: an engine may still hold their weights
            and must be told to unload these names.
    """

    known: bool
    removed: tuple[str, ...]
    in_use: tuple[str, ...]
