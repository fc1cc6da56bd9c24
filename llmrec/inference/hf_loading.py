"""Find a causal language model and its tokenizer, in a folder or by its name on the hub.

Weights are read from safetensors only, and code that comes with a model is never run. A checkpoint
that lacks weights is refused; transformers would fill them with random numbers and a warning.
"""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as messages

from llmrec.errors import ArtifactError, ConfigError, nearest_name
from llmrec.inference.hf_tokenizer import HFTokens

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_HASHED_WHOLE = 50_000_000
_SAMPLE = 4096


def load_model(name: str, device: str | None, dtype: str | None) -> tuple[Any, HFTokens]:
    """Load a model in evaluation mode.

    Args:
        name: A folder in the layout of ``save_pretrained``, or a name on the hub.
        device: Where to; None takes a GPU if there is one.
        dtype: One of :data:`DTYPES`; None is bfloat16 on a GPU and float32 elsewhere.

    Raises:
        ConfigError: ``dtype`` is not known.
        ArtifactError: There is no such model, a file is missing or damaged, or it is not a causal
            language model.
    """
    place = _device(device)
    wanted = dtype or ("bfloat16" if place.type == "cuda" else "float32")
    if wanted not in DTYPES:
        raise ConfigError(f"dtype is {wanted!r}{nearest_name(wanted, DTYPES)}.")
    if Path(name).is_dir():
        check_folder(Path(name))
    elif name.startswith(("/", "./", "../", "~")):
        raise ArtifactError(f"there is no folder {name} to read a model from.")
    try:
        with _quiet_without_terminal():
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model, report = AutoModelForCausalLM.from_pretrained(
                name,
                dtype=DTYPES[wanted],
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise loading_error(name, error) from error
    _check_complete(name, report)
    return model.to(place).eval(), HFTokens(tokenizer, ids_of(model.config.eos_token_id))


def _device(name: str | None) -> torch.device:
    """The device of a name; without one, a GPU if there is one.

    Raises:
        ConfigError: The name is none, or there is no such device here.
    """
    there = torch.cuda.is_available()
    if name is None:
        return torch.device("cuda" if there else "cpu")
    try:
        found = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is {name!r}; expected cpu, cuda or cuda:NUMBER.") from None
    if found.type == "cuda" and not (there and (found.index or 0) < torch.cuda.device_count()):
        count = torch.cuda.device_count() if there else 0
        raise ConfigError(f"device is {name!r}, but this machine has {count} usable GPUs; use cpu.")
    return found


def width_and_context(model: nn.Module) -> tuple[int, int | None]:
    """Width of the logits, and most tokens of a text (None where the model does not say)."""
    text = model.config.get_text_config()  # type: ignore[operator, union-attr]
    width = model.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
    return int(width), getattr(text, "max_position_embeddings", None)


def identity(name: str, model: nn.Module, tokens: HFTokens) -> dict[str, str]:
    """What the answers of a model depend on, before any adapter is added.

    The weights' hash takes all of them up to 50 million, and evenly spaced ones of every tensor of
    larger models.
    """
    hashed = hashlib.sha256()
    parameters = dict(model.named_parameters())
    whole = sum(weight.numel() for weight in parameters.values()) <= _HASHED_WHOLE
    for path, weight in sorted(parameters.items()):
        flat = weight.detach().reshape(-1)
        kept = flat if whole else flat[:: max(1, len(flat) // _SAMPLE)]
        hashed.update(f"{path} {tuple(weight.shape)}".encode())
        hashed.update(kept.float().cpu().numpy().tobytes())
    return {
        "backend": "hf",
        "backend_version": transformers.__version__,
        "model": Path(name).name if Path(name).is_dir() else name,
        "weights": hashed.hexdigest()[:16],
        "tokenizer": tokens.fingerprint,
        "dtype": str(next(iter(parameters.values())).dtype).removeprefix("torch."),
    }


@contextmanager
def _quiet_without_terminal() -> Iterator[None]:
    """No progress bars in logs."""
    silenced = messages.is_progress_bar_enabled() and not sys.stderr.isatty()
    if silenced:
        messages.disable_progress_bar()
    try:
        yield
    finally:
        if silenced:
            messages.enable_progress_bar()


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot hold a model.

    Raises:
        ArtifactError: A file is missing; the sentence says what was looked for and what is there.
    """
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        missing.append(f"tokenizer ({' or '.join(_TOKENIZER_FILES)})")
    if missing:
        there = sorted(path.name for path in folder.iterdir())
        raise ArtifactError(
            f"{folder} is not a complete model: it has no {', no '.join(missing)}; found "
            f"{', '.join(there) or 'nothing'}."
        )


def _check_complete(name: str, report: dict[str, Any]) -> None:
    lacking = sorted(map(str, report.get("missing_keys") or ()))
    unlike = sorted(map(str, report.get("mismatched_keys") or ()))
    if lacking or unlike:
        keys = (lacking + unlike)[:3]
        raise ArtifactError(
            f"the weights of {name} do not make up its model: {len(lacking)} tensors are missing "
            f"and {len(unlike)} have another shape, such as {', '.join(keys)}."
        )


def loading_error(name: str, error: Exception) -> ArtifactError:
    """The error that says why a model cannot be loaded, and where it was looked for."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    looked = "the folder" if Path(name).is_dir() else "the hub and its local cache; no such folder"
    return ArtifactError(f"model {name!r} cannot be loaded ({looked}): {first.rstrip('.')}.")


def ids_of(value: int | Sequence[int] | None) -> list[int]:
    """Token ids of a configuration's field, which may be one, several or missing."""
    if value is None:
        return []
    return [value] if isinstance(value, int) else list(value)
