"""The two tokens whose probabilities are compared: how an answer of yes and of no begins."""

from llmrec.errors import ConfigError
from llmrec.inference.hf_tokenizer import HFTokens

PLAIN = (" Yes", " No")
"""Answers as they continue a text."""

IN_CHAT = ("Yes", "No")
"""Answers as they begin an assistant's turn."""


def answer_texts(given: tuple[str, str] | None, tokens: HFTokens) -> tuple[str, str]:
    """Yes and no as a base model is to say them: those given, else by whether it has a chat format.

    Args:
        given: Of the settings.
        tokens: The base model's tokenizer.
    """
    is_chat = bool(getattr(tokens.tokenizer, "chat_template", None))
    return given or (IN_CHAT if is_chat else PLAIN)


def answer_ids(tokens: HFTokens, answers: tuple[str, str]) -> tuple[int, int]:
    """First tokens of the two answers, as they follow a prompt.

    Args:
        tokens: The tokenizer.
        answers: Yes and no, with the space before them where one belongs there.

    Raises:
        ConfigError: An answer has no token, or both begin with the same one: what a model says of
            the two could then not be told apart.
    """
    yes, no = tokens.continuations(list(answers))
    for text, ids in zip(answers, (yes, no), strict=True):
        if not ids:
            raise ConfigError(f"the answer {text!r} has no token in the base model's vocabulary.")
    if yes[0] == no[0]:
        raise ConfigError(
            f"the answers {answers[0]!r} and {answers[1]!r} both begin with the token "
            f"{tokens.piece(yes[0])!r} of this base model, so they cannot be told apart; set "
            "answers to texts whose first tokens differ, for instance without the space."
        )
    return yes[0], no[0]
