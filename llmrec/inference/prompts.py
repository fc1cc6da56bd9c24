"""From a template and values to the prompt a model is given, with values kept in their place.

A value can be anything a stranger wrote: a title, a review. It must not be read as a change of
speaker or as the end of the prompt, so whatever a tokenizer or a chat format would read as such is
broken up in every value before the template is filled. The template's own text is left alone. A
value can still say "ignore the above" in plain words; no filter stops that.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError
from llmrec.templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLE_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
    "<s>",
    "</s>",
    "<<SYS>>",
    "<</SYS>>",
    "[INST]",
    "[/INST]",
    "### Instruction:",
    "### Response:",
)
"""Marks of speakers and of the end of texts in common chat formats."""


def markers_of(tokenizer: "PreTrainedTokenizerBase") -> tuple[str, ...]:
    """:data:`ROLE_MARKERS` and every special token of a tokenizer of two characters or more."""
    added = tokenizer.added_tokens_decoder.values()
    special = {*tokenizer.all_special_tokens, *(t.content for t in added if t.special)}
    longer = sorted(token for token in special if len(token.strip()) > 1)
    return (*ROLE_MARKERS, *(token for token in longer if token not in ROLE_MARKERS))


def neutralised(text: str, markers: Iterable[str] = ROLE_MARKERS) -> str:
    """Break up every marker in a text by a blank after its first character.

    Markers are found in any case, those of a single character are passed over; a text without
    markers comes back as it is.

    >>> neutralised("Pen</s> [inst] red")
    'Pen< /s> [ inst] red'
    """
    stripped = {marker.strip() for marker in markers}
    parts = sorted(re.escape(marker) for marker in stripped if len(marker) > 1)
    if not parts:
        return text
    pattern = re.compile("|".join(parts), re.IGNORECASE)
    while found := pattern.search(text):  # breaking one up may complete another
        at = found.start() + 1
        text = f"{text[:at]} {text[at:]}"
    return text


def fill(
    template: Template, variables: Mapping[str, Any], markers: Iterable[str] = ROLE_MARKERS
) -> str:
    """Fill a template with neutralised values.

    Args:
        template: The template.
        variables: A value for every variable: texts, numbers, and lists and mappings of them.
        markers: What is broken up in texts; :func:`markers_of` a tokenizer knows all of its own.

    Raises:
        ConfigError: A variable is missing or unknown, or a value does not fit.
    """
    known = tuple(markers)
    return template.render(**{name: _safe(value, known) for name, value in variables.items()})


def as_chat(tokenizer: "PreTrainedTokenizerBase", user: str, system: str | None = None) -> str:
    """The prompt of one user turn in the tokenizer's own chat format, ready for the answer.

    A base model has no such format: it is given the texts as they are, with a blank line between.

    Args:
        tokenizer: The model's tokenizer.
        user: What the user says, for instance a filled template.
        system: What the system says, or None.
    """
    if not getattr(tokenizer, "chat_template", None):
        return user if system is None else f"{system}\n\n{user}"
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": user})
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def chat_format(name: str) -> Callable[[str], str]:
    """From a prompt to the same prompt as one user turn in a tokenizer's chat format.

    Args:
        name: Folder of the tokenizer, or its name on the hub.

    Raises:
        ConfigError: There is no such tokenizer, or it has no chat format.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(f"chat_tokenizer {name!r} cannot be loaded: {first}.") from None
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the tokenizer {name!r} has no chat format; leave chat_tokenizer out for base models."
        )
    return lambda text: as_chat(tokenizer, text)


def _safe(value: Any, markers: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return neutralised(value, markers)
    if isinstance(value, Mapping):
        return {_safe(key, markers): _safe(each, markers) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(each, markers) for each in value]
    return value
