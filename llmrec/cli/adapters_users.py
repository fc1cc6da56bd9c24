"""Arguments that the verbs about adapters share: the store, and a user as people write one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from llmrec.adapters.store import AdapterStore
    from llmrec.adapters.user_keys import UserId

StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
NumberOption = Annotated[
    bool, typer.Option("--number", help="The id is a whole number and not a text of digits.")
]


def open_store(folder: Path) -> "AdapterStore":
    """The store; torch is imported only now."""
    from llmrec.adapters.store import AdapterStore

    return AdapterStore(folder)


def user_id(store: "AdapterStore", text: str, number: bool) -> "UserId":
    """The id as the store holds it: a text, or a whole number written as one.

    Raises:
        ConfigError: Both are known, or ``number`` was said of something else.
    """
    from llmrec.adapters.user_keys import number_in
    from llmrec.errors import ConfigError

    value = number_in(text)
    if number and value is None:
        raise ConfigError(
            f"user {text!r:.80} is not how a whole number of 64 bits is written; leave --number "
            "out."
        )
    if number and value is not None:
        return value
    known = [who for who in (text, value) if who is not None and _knows(store, who)]
    if len(known) > 1:
        raise ConfigError(
            f"the store knows a user {text!r} and a user {value}; say --number for the second, "
            "or use Python for the first."
        )
    return known[0] if known else text


def _knows(store: "AdapterStore", user: "UserId") -> bool:
    """Whether anything is stored of a user, a forgetting to be done again included."""
    places = (store.priors, store.events, store.pins, store.half_forgotten)
    return bool(store.gates.versions_now([user])[0]) or any(place.has(user) for place in places)


def known_user(store: "AdapterStore", text: str, number: bool) -> "UserId":
    """As :func:`user_id`, for a user with a gate.

    Raises:
        UnknownIdError: There is none.
    """
    from llmrec.errors import UnknownIdError

    found = user_id(store, text, number)
    if store.gate(found) is None:
        raise UnknownIdError(f"the store has no gate of user {text!r}; 'adapters list' names some.")
    return found
