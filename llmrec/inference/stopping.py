"""The text of an answer while it grows, and the stop texts that end it.

Tokens are not characters: a letter outside ASCII can be several tokens, and some tokenizers drop
the space of a text's first token. So a token is read together with those before it, and bytes
that do not make up a character yet are held back until they do, or until the answer ends.
"""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_UNFINISHED = "\ufffd"
_CONTEXT = 5
"""Tokens of the prompt that an answer's first token is read with."""


class AnswerText:
    """The text of one answer.

    Args:
        decode: Turns token ids into text; special tokens give none.
        prompt: Token ids of the prompt.
        stop: Texts that end the answer, none of them empty.
    """

    def __init__(self, decode: Decode, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._ids = list(prompt[-_CONTEXT:])
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        # ids before `_read` are in `_text`; those from `_from` on are what the next are read with
        self._from, self._read = 0, len(self._ids)
        self._text = ""
        self._end: int | None = None

    def push(self, token: int) -> bool:
        """Add a token; True when a stop text is complete."""
        self._ids.append(token)
        if not self._stop:
            return False  # nobody looks before the end
        return self._extend(final=False)

    def close(self) -> str:
        """End the answer: its text, without the stop text and what came after it."""
        self._extend(final=True)
        return self._text[: self._end]

    def _extend(self, final: bool) -> bool:
        known = self._decode(self._ids[self._from : self._read])
        text = self._decode(self._ids[self._from :])
        unfinished = text.endswith(_UNFINISHED) and not final
        if self._end is not None or unfinished or len(text) <= len(known):
            return self._end is not None
        searched = max(0, len(self._text) - self._longest + 1)
        self._text += text[len(known) :]
        self._from, self._read = self._read, len(self._ids)
        self._end = first_stop(self._text, self._stop, searched)
        return self._end is not None


def first_stop(text: str, stop: Sequence[str], start: int = 0) -> int | None:
    """Where the first of the stop texts begins, or None.

    >>> first_stop("one, two; three", (";", ", "))
    3
    """
    places = [place for found in stop if (place := text.find(found, start)) >= 0]
    return min(places, default=None)
