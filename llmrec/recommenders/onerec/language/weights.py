"""A language model with its tokenizer as plain arrays, and back; nothing is pickled."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from llmrec.errors import ArtifactError, ConfigError

_FACTS = "language_model"
Arrays = dict[str, npt.NDArray[Any]]


def to_arrays(model: Any, tokenizer: Any) -> Arrays:
    """Weights by name, and configuration and tokenizer as the bytes of a JSON text.

    Raises:
        ConfigError: The tokenizer is none that can be written as JSON.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(
            f"a tokenizer of kind {type(tokenizer).__name__} cannot be saved with the model; use a "
            "language model with a tokenizer.json."
        )
    special = {
        name: token
        for name in ("bos_token", "eos_token")
        if isinstance(token := getattr(tokenizer, name), str)
    }
    facts = {
        "config": model.config.to_dict(),
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
        "special": special,
    }
    text = json.dumps(facts, default=str).encode()
    weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
    return {**weights, _FACTS: np.frombuffer(text, dtype=np.uint8)}


def from_arrays(state: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, Any]:
    """Model and tokenizer of :func:`to_arrays`.

    Raises:
        ArtifactError: The arrays hold no language model, or one of a kind that is not known here.
    """
    weights = dict(state)
    try:
        facts = json.loads(weights.pop(_FACTS).tobytes())
        settings = dict(facts["config"])
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"the saved language model cannot be read: {error}") from None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(facts["tokenizer"]), **facts["special"]
    )
    return model.eval(), tokenizer
