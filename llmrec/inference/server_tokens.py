"""Texts as token ids by a vLLM server's own tokenizer, in the way local backends read them.

A prompt gets the token that begins texts if the server's tokenizer adds one and the prompt does not
bring it along, as a chat template does. A continuation is read by itself, as text in the middle of
a text. So the same request means the same tokens here and on a local model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmrec.errors import ConfigError, DataError

Post = Callable[[str, Any], dict[str, Any]]
"""Sends JSON to an address and returns the JSON that comes back."""

_ANCHOR = "\n"


@dataclass(frozen=True)
class TokenHabits:
    """What a server's tokenizer does to every text.

    Attributes:
        beginning: Tokens it puts before a text.
        anchor: Tokens of a line break, if it puts a space before every text, which a text in the
            middle must not get; else empty.
        longest: Most tokens of a prompt and its answer.
    """

    beginning: tuple[int, ...]
    anchor: tuple[int, ...]
    longest: int


class ServerTokens:
    """The tokenizer of a server; its habits are asked for once.

    Args:
        root: Address of the server, without the version.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._habits: TokenHabits | None = None

    def habits(self, post: Post, model: str) -> TokenHabits:
        """What the tokenizer does to every text.

        Raises:
            DataError: The server does not answer as vLLM's does.
        """
        if self._habits is None:
            whole, longest = self._asked(post, model, "a", special=True)
            one = self._asked(post, model, "a")[0]
            twice = post(f"{self._root}/detokenize", {"model": model, "tokens": one + one})
            anchor = []
            if twice.get("prompt") != "aa":
                anchor = self._asked(post, model, _ANCHOR)[0]
            starts = [i for i in range(len(whole)) if whole[i : i + len(one)] == one]
            beginning = whole[: starts[0]] if starts else []
            self._habits = TokenHabits(tuple(beginning), tuple(anchor), longest)
        return self._habits

    def prompt(self, post: Post, model: str, text: str) -> list[int]:
        """Tokens of a prompt; an empty one is the token that begins texts.

        Raises:
            ConfigError: It is empty, and there is no such token.
            DataError: The server does not answer as vLLM's does.
        """
        beginning = list(self.habits(post, model).beginning)
        ids = self._asked(post, model, text)[0] if text else []
        if not ids and not beginning:
            raise ConfigError(
                "the prompt is empty, and this model has no token that begins a text; give the "
                "prompt at least one character."
            )
        return ids if ids[: len(beginning)] == beginning else beginning + ids

    def continuation(self, post: Post, model: str, text: str) -> list[int]:
        """Tokens of a text that follows another.

        Raises:
            DataError: As for :meth:`prompt`.
        """
        anchor = list(self.habits(post, model).anchor)
        if anchor:
            ids = self._asked(post, model, _ANCHOR + text)[0]
            if ids[: len(anchor)] == anchor:
                return ids[len(anchor) :]
        return self._asked(post, model, text)[0]

    def _asked(
        self, post: Post, model: str, text: str, special: bool = False
    ) -> tuple[list[int], int]:
        url = f"{self._root}/tokenize"
        answer = post(url, {"model": model, "prompt": text, "add_special_tokens": special})
        ids, longest = answer.get("tokens"), answer.get("max_model_len")
        whole = isinstance(ids, list) and all(isinstance(one, int) for one in ids)
        if not isinstance(ids, list) or not whole or not isinstance(longest, int):
            raise DataError(
                f"{url} does not answer as vLLM's does; remove 'tokenize' from extra_fields."
            )
        return ids, longest
