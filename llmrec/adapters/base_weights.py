"""What a base model is known by, in memory or from files: its weights, and how it computes.

Of each weight these are evenly spaced values; of the configuration, what changes the answers of the
same weights: heads, positions, norms, windows, factors.

A loaded model has the weights that its files name and that it has parameters for: a folder may hold
more files (the same weights in another layout) and a file more tensors (tables that older versions
saved). So of a folder those are read that loading would take.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from llmrec.errors import ArtifactError
from llmrec.storage import read_json

_SAMPLE = 256
_COMPUTING = (
    *("model_type", "num_attention_heads", "num_key_value_heads", "n_head", "num_heads"),
    *("rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "rotary_dim"),
    *("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    *("hidden_act", "hidden_activation", "activation_function", "sliding_window", "layer_types"),
    *("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"),
    *("attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"),
    *("logit_scale", "num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor"),
)
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


class Sample(NamedTuple):
    """Of one weight.

    Attributes:
        shape: Its shape.
        values: Evenly spaced values on the CPU, in the precision they are in.
    """

    shape: tuple[int, ...]
    values: Tensor


Samples = Mapping[str, Sample]


def samples_of(model: nn.Module) -> Samples:
    """By name, of a model in memory."""
    return {name: _sample(weight) for name, weight in model.named_parameters()}


def samples_in(folder: Path) -> Samples:
    """By name, of a saved model; one weight at a time, so that it need not fit into memory.

    Raises:
        ArtifactError: The folder holds no model, or a file is missing or damaged.
    """
    places = _places(folder)
    found: dict[str, Sample] = {}
    for name, stored in _parameters(folder, places).items():
        try:
            with safe_open(str(places[stored]), framework="pt") as opened:
                found[name] = _sample(opened.get_tensor(stored))
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{places[stored]} is damaged: {error}.") from None
    return found


def computation_of(config: Any) -> str:
    """What a model's configuration says that its weights do not, as JSON; of equal ones the same.

    Args:
        config: Of transformers.
    """
    values = config.get_text_config().to_dict()
    return json.dumps(
        {name: values[name] for name in _COMPUTING if values.get(name)}, sort_keys=True
    )


def computation_in(folder: Path) -> str:
    """As :func:`computation_of`, of a saved model.

    Raises:
        ArtifactError: The folder holds no model.
    """
    return computation_of(_configuration(folder))


def hash_of(samples: Samples, computation: str) -> str:
    """Of names, shapes, values rounded to bfloat16, and computation; 16 hexadecimal digits."""
    hashed = hashlib.sha256(computation.encode())
    for name, (shape, values) in sorted(samples.items()):
        hashed.update(f"{name} {shape}".encode())
        hashed.update(values.to(torch.bfloat16).float().numpy().tobytes())
    return hashed.hexdigest()[:16]


def before_rounding(samples: Samples, folder: Path) -> Samples:
    """Those of the files that a model was loaded from, if what it has is these, rounded.

    float16 keeps other digits than bfloat16, and not those of very large or small values, so that
    a model loaded in it cannot be rounded to what others are known by.
    """
    if not folder.is_dir() or all(s.values.dtype != torch.float16 for s in samples.values()):
        return samples
    try:
        stored = samples_in(folder)
    except ArtifactError:
        return samples
    same = stored.keys() == samples.keys() and all(
        stored[name].shape == shape and torch.equal(stored[name].values.to(values.dtype), values)
        for name, (shape, values) in samples.items()
    )
    return stored if same else samples


def _sample(weight: Tensor) -> Sample:
    flat = weight.detach().reshape(-1)
    return Sample(tuple(weight.shape), flat[:: max(1, flat.numel() // _SAMPLE)].cpu().clone())


def _places(folder: Path) -> dict[str, Path]:
    """The file of every tensor, among the files that loading looks at."""
    if (folder / _WHOLE).is_file():
        files = [folder / _WHOLE]
    elif (folder / _INDEX).is_file():
        about = read_json(folder / _INDEX)
        named = about.get("weight_map") if isinstance(about, dict) else None
        if not isinstance(named, dict):
            raise ArtifactError(f"{folder / _INDEX} is damaged: it has no weight_map.")
        files = [folder / name for name in sorted(set(named.values()))]
    else:
        raise ArtifactError(f"{folder} holds no model: it has no {_WHOLE} and no {_INDEX}.")
    places: dict[str, Path] = {}
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{file} is missing, though {_INDEX} names it.")
        try:
            with safe_open(str(file), framework="pt") as opened:
                places |= dict.fromkeys(opened.keys(), file)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{file} is damaged: {error}.") from None
    return places


def _parameters(folder: Path, stored: Mapping[str, Path]) -> dict[str, str]:
    """What the files call each parameter that the loaded model would have."""
    from transformers import AutoModelForCausalLM

    config = _configuration(folder)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder} holds no causal language model: {error}.") from None
    prefix, found = f"{model.base_model_prefix}.", {}
    for name, _ in model.named_parameters():
        own = name if name in stored else name.removeprefix(prefix)  # some save the inner model
        if own not in stored:
            raise ArtifactError(f"{folder} lacks the weight {name!r} of its model.")
        found[name] = own
    return found


def _configuration(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder} holds no causal language model: {error}.") from None
