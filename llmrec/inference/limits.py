"""What every local backend refuses about a request, in the same words."""

from collections.abc import Iterable

from llmrec.errors import ConfigError, nearest_name
from llmrec.inference.requests import OverLong


def fitted(
    ids: list[int], more: int, context: int | None, over_long: OverLong, first: int = 0
) -> list[int]:
    """Make a prompt fit into the model's context.

    Args:
        ids: Tokens of the prompt.
        more: Tokens that follow it: of the answer, or of the longest continuation.
        context: Most tokens of both together, or None without a limit.
        over_long: Refuse, or drop the prompt's beginning.
        first: Tokens at the beginning that stay, such as the one that begins texts.

    Raises:
        ConfigError: It does not fit, and cutting was not asked for or leaves nothing of it.
    """
    if context is None or len(ids) + more <= context:
        return ids
    lengths = (
        f"the prompt has {len(ids)} tokens and {more} more follow it, but the model takes "
        f"{context} together"
    )
    if over_long == "error":
        raise ConfigError(f"{lengths}; shorten it, or set over_long='keep_end'.")
    room = context - more - first
    if room <= 0:
        raise ConfigError(f"{lengths}: nothing of the prompt would be left. Ask for fewer tokens.")
    return ids[:first] + ids[-room:]


def encodable(text: str) -> str:
    """Give back a text that UTF-8 has bytes for.

    Raises:
        ConfigError: The text holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"character {error.start} of the text is half of a surrogate pair, which no tokenizer "
            "can read; it was damaged when it was decoded. Remove it."
        ) from None
    return text


def check_adapter(name: str | None, known: Iterable[str]) -> None:
    """Refuse an adapter nobody has loaded.

    Raises:
        ConfigError: The name is not None and not known.
    """
    names = list(known)
    if name is None or name in names:
        return
    hint = nearest_name(name, names) if names else "; none is loaded"
    raise ConfigError(f"there is no adapter {name!r}{hint}.")
