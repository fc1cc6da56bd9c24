"""Forget a user: ask every store that keeps something about people, and say what stays.

A store is anything with a name and ``forget(user)``; adapters and runs join by being one. What no
store can take back, the weights that learnt from the user's events, is named instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmrec.errors import ArtifactError, LlmrecError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.tiny_names import tiny_models
from llmrec.profiles.forgetting import forget_in_profiles


@dataclass(frozen=True)
class Removed:
    """What a store had about a user.

    Attributes:
        count: How much.
        unload: Names of adapters that a running engine may still hold and must unload.
    """

    count: int
    unload: tuple[str, ...] = ()


class Store(Protocol):
    """Something that keeps data about users."""

    @property
    def name(self) -> str:
        """What a report calls it."""
        ...

    @property
    def unit(self) -> str:
        """What it keeps, in the plural."""
        ...

    def forget(self, user: str) -> Removed:
        """Remove everything about a user; returns what there was."""
        ...


@dataclass(frozen=True)
class CacheStore:
    """Answers of language models that a user's data went into.

    Attributes:
        path: The file of a :class:`~llmrec.inference.cache.ResponseCache`.
    """

    path: Path
    unit = "answers"

    @property
    def name(self) -> str:
        """See :class:`Store`."""
        return f"cache {self.path}"

    def forget(self, user: str) -> Removed:
        """See :class:`Store`.

        Raises:
            ArtifactError: There is no such file, or it is no cache.
            StorageError: The entries are gone, but another process keeps the file busy.
        """
        if not self.path.is_file():  # opening it would make one
            raise ArtifactError(f"there is no response cache {self.path}.")
        return Removed(ResponseCache(self.path).forget(user))


@dataclass(frozen=True)
class ProfileStore:
    """Texts about users.

    Attributes:
        path: A folder of saved profiles, or of the shards they grew from.
    """

    path: Path
    unit = "profiles"

    @property
    def name(self) -> str:
        """See :class:`Store`."""
        return f"profiles {self.path}"

    def forget(self, user: str) -> Removed:
        """See :class:`Store`.

        Raises:
            ArtifactError: It is no such folder, or a file in it is damaged.
        """
        return Removed(forget_in_profiles(self.path, user))


@dataclass(frozen=True)
class AdaptersOfUsers:
    """Gates and adapters of users.

    Attributes:
        folder: An :class:`~llmrec.adapters.store.AdapterStore`.
    """

    folder: Path
    unit = "gates and adapters"

    @property
    def name(self) -> str:
        """See :class:`Store`."""
        return f"adapter store {self.folder}"

    def forget(self, user: str) -> Removed:
        """See :class:`Store`; where it is how a whole number is written, that is forgotten, too.

        Raises:
            ArtifactError: It is no such store.
            StorageError: It is busy, or there is no room to rewrite it.
        """
        from llmrec.adapters.store import AdapterStore
        from llmrec.adapters.user_keys import number_in

        store, number = AdapterStore(self.folder), number_in(user)
        found = [store.forget(each) for each in (user, number) if each is not None]
        names = tuple(name for each in found for name in each.removed)
        return Removed(sum(each.known for each in found) + len(names), names)


@dataclass(frozen=True)
class Forgotten:
    """What came of one store.

    Attributes:
        store: Its name.
        unit: What it keeps.
        removed: How much of that went.
        error: Why it could not be done, or None.
        unload: See :class:`Removed`.
    """

    store: str
    unit: str
    removed: int = 0
    error: str | None = None
    unload: tuple[str, ...] = ()


def forget_user(user: str, stores: Sequence[Store]) -> list[Forgotten]:
    """Remove a user from all stores; one that fails does not keep the others from it.

    Args:
        user: The user's id, as text.
        stores: Whom to ask.
    """
    found = []
    for store in stores:
        try:
            removed = store.forget(user)
            done = Forgotten(store.name, store.unit, removed.count, unload=removed.unload)
            found.append(done)
        except LlmrecError as error:
            found.append(Forgotten(store.name, store.unit, error=str(error)))
    return found


def what_stays() -> list[str]:
    """What cannot be removed from a user's traces, one sentence each."""
    names = ", ".join(model.name for model in tiny_models())
    here = f"; on this machine the language models {names}" if names else ""
    return [
        "Weights that were trained on the user's events keep what they learnt: remove the events "
        f"from the data and train again{here}.",
        "Vectors and neighbours cached from profiles stay in LLMREC_HOME; they hold no text, and "
        "deleting them costs time only.",
        "Runs and files elsewhere are not looked at, and adapters that an engine has loaded stay "
        "with it until it is told to unload them: where a server runs, all that are named here.",
    ]
