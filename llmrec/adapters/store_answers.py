"""What an adapter store answers."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llmrec.adapters.adapter_files import COUNTED, AdapterFiles
from llmrec.adapters.issued import Found
from llmrec.adapters.served import FALLBACKS, FOUND


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
            was in; they are void and deleted. An engine that runs may hold the weights of any of
            them, long after their lease: tell it to unload these names.
        in_use: Those of them that were pinned or leased in that moment.
    """

    known: bool
    removed: tuple[str, ...]
    in_use: tuple[str, ...]


def stats_of(users: int, files: AdapterFiles, served: Counter[Found]) -> dict[str, int]:
    """See :meth:`llmrec.adapters.store.AdapterStore.stats`.

    Args:
        users: How many have weights.
        files: The adapters.
        served: Requests by where the weights came from.
    """
    names = files.names()
    return {
        "users": users,
        "adapters": len(names),
        "adapter_bytes": sum(names.values()),
        "byte_budget": files.budget,
        **{f"served_{kind}": served[kind] for kind in FOUND},
        "fallbacks": sum(served[kind] for kind in FALLBACKS),
        **{kind: files.counts[kind] for kind in COUNTED},
    }
