"""Start vLLM's offline engine on a model, with everything set that decides about results.

vLLM reads much from the environment, from the checkpoint and from its own idea of the machine. What
matters is fixed here: no generation settings of a checkpoint, log-probabilities of the raw logits
and as many as are asked for, nothing sent home. What is left to the user are options about speed
and memory. vLLM's own messages are shown from errors up, unless ``VLLM_LOGGING_LEVEL`` is set.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmrec.errors import ArtifactError, ConfigError, nearest_name
from llmrec.inference.hf_loading import DTYPES, check_folder, ids_of, loading_error
from llmrec.inference.hf_tokenizer import HFTokens
from llmrec.inference.vllm_adapters import Room

_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")
_LOADED_AT_ONCE = 128
"""Adapters that stay in main memory; others are read again when they are needed."""

_OURS = {
    "model": "name_or_folder",
    "tokenizer": "name_or_folder",
    "dtype": "dtype",
    "max_model_len": "context",
    "kv_cache_memory_bytes": "cache_gib",
    "enable_lora": "adapters or lora_rank",
    "max_lora_rank": "lora_rank",
    "lora_target_modules": "adapters",
    "max_loras": "lora_slots",
}
_FIXED = (
    "generation_config",
    "hf_token",
    "logits_processors",
    "logprobs_mode",
    "max_logprobs",
    "override_generation_config",
    "skip_tokenizer_init",
    "speculative_config",
    "trust_remote_code",
)

_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    # the newer runner takes no processors of this kind, which scoring needs
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}

_UNCOMPILED = {"TORCHDYNAMO_DISABLE": "1"}
"""Without compiled passes, vLLM would still compile a line that counts ranks, by a C++ compiler."""


@dataclass(frozen=True)
class ModelFiles:
    """A model that has not been loaded.

    Attributes:
        name: Name or folder as it was given.
        folder: Where the files lie.
        tokens: What its tokens mean.
        vocab_size: Width of the logits.
        shapes: Shapes of the weights of its linear layers, by the layers' names.
        head: Name of its last layer.
    """

    name: str
    folder: Path
    tokens: HFTokens
    vocab_size: int
    shapes: Mapping[str, tuple[int, ...]]
    head: str


@dataclass(frozen=True)
class Setting:
    """What a user decides about an engine.

    Attributes:
        dtype: Number format, or None for bfloat16 on a GPU and float32 elsewhere.
        context: Most tokens of a prompt and its answer, or None for the model's own limit.
        cache_gib: Memory for keys and values, or None for 1 GiB on a CPU and vLLM's own choice
            elsewhere.
        lora_slots: Most adapters side by side.
        options: Further options of vLLM's ``EngineArgs``.
    """

    dtype: str | None
    context: int | None
    cache_gib: float | None
    lora_slots: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}{nearest_name(self.dtype, DTYPES)}.")
        for name, value in (("context", self.context), ("lora_slots", self.lora_slots)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1.")
        if self.cache_gib is not None and not 0 < self.cache_gib < float("inf"):
            raise ConfigError(f"cache_gib is {self.cache_gib}; expected a number above 0.")
        for name in self.options:
            if name in _OURS:
                raise ConfigError(f"options has {name!r}; use the argument {_OURS[name]} for it.")
            if name in _FIXED:
                raise ConfigError(
                    f"options has {name!r}, which decides about results and is fixed; leave it out."
                )


def find_model(name: str) -> ModelFiles:
    """Find a causal language model and read everything but its weights.

    Raises:
        ArtifactError: There is no such model, or a file is missing or damaged.
    """
    try:
        if not Path(name).is_dir() and name.startswith((".", "/", "~")):
            raise FileNotFoundError("there is nothing at this path")
        local = Path(name).is_dir()
        folder = Path(name) if local else Path(snapshot_download(name, allow_patterns=list(_FILES)))
        check_folder(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except ArtifactError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise loading_error(name, error) from error
    linear = {
        path: tuple(module.weight.shape)
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    last = model.get_output_embeddings()
    head = next(path for path, module in model.named_modules() if module is last)
    tokens = HFTokens(tokenizer, ids_of(config.get_text_config().eos_token_id))
    return ModelFiles(name, folder, tokens, int(last.weight.shape[0]), linear, head)


def start_engine(model: ModelFiles, setting: Setting, room: Room) -> Any:
    """Start the engine.

    Args:
        model: The model.
        setting: What the user decides.
        room: For adapters.

    Returns:
        vLLM's ``LLM``.

    Raises:
        ConfigError: vLLM is not installed, or it takes no such option.
        ArtifactError: The engine does not start.
    """
    with _environment(_ENVIRONMENT):
        try:
            from vllm import LLM
            from vllm.exceptions import VLLMClientError
            from vllm.platforms import current_platform
        except ImportError as error:
            raise ConfigError(
                "vLLM is not installed; on a GPU install llmrec[vllm], on a CPU see docs/vllm.md "
                f"(make install-vllm). The import said: {error}."
            ) from None
        arguments = _arguments(model, setting, room, on_cpu=bool(current_platform.is_cpu()))
        with _environment(_UNCOMPILED if arguments.get("enforce_eager") else {}):
            try:
                return LLM(**arguments)
            except (RuntimeError, ValueError, OSError, TypeError, VLLMClientError) as error:
                first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason"
                raise ArtifactError(
                    f"vLLM's engine for {model.name!r} does not start: {first.rstrip('.')}. If "
                    "that says little, the reason is in vLLM's messages above."
                ) from error


def _arguments(model: ModelFiles, setting: Setting, room: Room, on_cpu: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(model.folder),
        "dtype": setting.dtype or ("float32" if on_cpu else "bfloat16"),
        "max_model_len": setting.context,
        "generation_config": "vllm",
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": -1,
        "logits_processors": ["llmrec.inference.vllm_forced:ForcedTokens"],
        "trust_remote_code": False,
        "enable_prefix_caching": True,
        "use_tqdm_on_load": False,
    }
    gib = setting.cache_gib or (1.0 if on_cpu else None)
    if gib is not None:
        arguments["kv_cache_memory_bytes"] = int(gib * 2**30)
    if on_cpu:
        arguments |= {"enforce_eager": True, "block_size": 32}
    if room.rank:
        arguments |= {
            "enable_lora": True,
            "max_lora_rank": room.rank,
            "max_loras": setting.lora_slots,
            "max_cpu_loras": max(setting.lora_slots, _LOADED_AT_ONCE),
            "lora_target_modules": sorted(room.layers),
        }
    return arguments | dict(setting.options)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """What vLLM and the processes it starts read, unless the user has set it."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
