"""The base model of RecLoRA: a causal language model in this process, and who it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec.adapters.experts import BaseModelId
from llmrec.data.histories import Origin
from llmrec.errors import ConfigError
from llmrec.inference.hf_loading import ids_of, load_model, loading_error
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.opening import parse_name, seen_by


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A loaded base model.

    Attributes:
        network: The transformers model, without adapters.
        tokens: Its tokenizer.
        place: Folder or name on the hub it was loaded from, by which peft finds it again.
        identity: Hash of its weights.
        seen: Where its training events came from, as far as recorded.
    """

    network: Any
    tokens: HFTokens
    place: str
    identity: BaseModelId
    seen: tuple[Origin, ...]


def tokenizer_in(folder: str | Path) -> HFTokens:
    """The tokenizer of a base model as :func:`open_base` gives it, without reading weights.

    Raises:
        ArtifactError: There is none, or a file of it is damaged.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise loading_error(str(folder), error) from error
    return HFTokens(tokenizer, ids_of(config.eos_token_id))


def open_base(name: str, dtype: str, device: str | None = None) -> BaseModel:
    """Load a base model.

    Args:
        name: ``tiny:DATASET[@HASH]``, ``hf:NAME`` or a folder.
        dtype: Number format of its weights.
        device: Where to; None takes a GPU if there is one.

    Raises:
        ConfigError: The name has no such form; a model elsewhere cannot be given experts.
        ArtifactError: There is no such model, or a file of it is damaged.
    """
    kind, place = parse_name(name)
    if kind not in ("tiny", "hf"):
        raise ConfigError(
            f"base is {name!r}, but experts are trained inside a model in this process; give "
            "tiny:DATASET, hf:NAME or a folder."
        )
    network, tokens = load_model(place, device, dtype)
    return BaseModel(network, tokens, place, BaseModelId.of(network, place), seen_by(name))
