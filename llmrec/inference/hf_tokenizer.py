"""A Hugging Face tokenizer as local backends use it: nothing is added, cut or cleaned up unseen.

A prompt gets the token that begins texts if the tokenizer is set to add it and the prompt does not
bring it, and no other. A continuation is read by itself, as text in the middle of a text: its
tokens never merge with the prompt's, so that all continuations share the prompt's.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from llmrec.errors import ConfigError

_ANCHOR = "\n"


class HFTokens:
    """See the module.

    Args:
        tokenizer: A ``PreTrainedTokenizerBase``.
        eos: Further tokens that end an answer, from the model's configuration.

    Attributes:
        bos: The token that begins texts, or None.
        eos: Tokens that end an answer.
        adds_bos: Whether every prompt begins with ``bos``.
    """

    def __init__(self, tokenizer: Any, eos: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self.bos: int | None = tokenizer.bos_token_id
        own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self.eos = frozenset([*own, *eos])
        whole = tokenizer("a", add_special_tokens=True)["input_ids"]
        self.adds_bos = self.bos is not None and whole[:1] == [self.bos]
        one = self._encode(["a"])[0]
        # some tokenizers begin every text with a space, which a text in the middle must not get
        self._anchor = [] if self.decode(one + one) == "aa" else self._encode([_ANCHOR])[0]
        self._pieces: dict[int, str] = {}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer itself, for its chat format and its special tokens."""
        return self._tokenizer

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts; an empty one is the token that begins texts.

        Raises:
            ConfigError: A prompt is empty and there is no such token.
        """
        return [self._begun(ids) for ids in self._encode(texts)]

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that follow another."""
        if not self._anchor:
            return self._encode(texts)
        size = len(self._anchor)
        anchored = self._encode([_ANCHOR + text for text in texts])
        return [
            ids[size:] if ids[:size] == self._anchor else self._encode([text])[0]
            for ids, text in zip(anchored, texts, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens; special tokens have none."""
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def piece(self, token: int) -> str:
        """The text of one token, special or not."""
        if token not in self._pieces:
            self._pieces[token] = self._tokenizer.decode(
                [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        return self._pieces[token]

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides how a text is read."""
        fast = getattr(self._tokenizer, "backend_tokenizer", None)
        words = repr(sorted(self._tokenizer.get_vocab().items())) if fast is None else fast.to_str()
        told = repr((type(self._tokenizer).__name__, self.bos, sorted(self.eos), self.adds_bos))
        chat = getattr(self._tokenizer, "chat_template", None)
        asked = "" if chat is None else json.dumps(chat, sort_keys=True)
        return hashlib.sha256((told + words + asked).encode()).hexdigest()[:16]

    def _begun(self, ids: list[int]) -> list[int]:
        if not ids and self.bos is None:
            raise ConfigError(
                "the prompt is empty, and this model has no token that begins a text; give the "
                "prompt at least one character."
            )
        begun = ids[:1] == [self.bos]
        if self.bos is not None and not begun and (self.adds_bos or not ids):
            return [self.bos, *ids]
        return ids

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, verbose=False
        )["input_ids"]
        return found
