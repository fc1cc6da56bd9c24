"""Language models by name, as recipes and the command line give them.

``tiny:DATASET`` is an embedded model of this machine, ``hf:FOLDER_OR_NAME`` (or just a folder) runs
in this process, ``vllm:FOLDER_OR_NAME`` in vLLM's engine, ``openai:MODEL@URL`` on a server, and
``fake`` writes gibberish for tests. Backends are imported when they are asked for. Nothing is
trained here, and an API key is never part of a name.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrec.contracts import LanguageModel
from llmrec.data.histories import Origin
from llmrec.errors import ConfigError, nearest_name
from llmrec.inference.seen import seen_of
from llmrec.inference.server_settings import checked_model
from llmrec.inference.tiny_names import PREFIX as TINY
from llmrec.inference.tiny_names import find_tiny

FORMS = {
    "tiny": "tiny:DATASET or tiny:DATASET@HASH",
    "hf": "hf:FOLDER_OR_HUB_NAME (or a folder)",
    "vllm": "vllm:FOLDER_OR_HUB_NAME",
    "openai": "openai:MODEL@URL",
    "fake": "fake",
}
"""Kinds of names and how each is written."""

_SCHEMES = ("@http://", "@https://")


def open_language_model(
    name: str | Path, *, adapters: Mapping[str, str | Path] | None = None, **options: Any
) -> LanguageModel:
    """Open a language model.

    Args:
        name: One of :data:`FORMS`.
        adapters: LoRA adapters, from the names that requests use to their folders. A server loads
            its own. The fake model takes the names alone.
        options: Further arguments of the backend's class, such as ``device`` or ``concurrency``.

    Raises:
        ConfigError: The name has no known form, an embedded model was not trained yet, or the
            backend does not know an option.
        ArtifactError: The model or an adapter is missing, damaged or of another kind.
    """
    kind, rest = parse_name(name)
    openers = {
        "tiny": _open_hf,
        "hf": _open_hf,
        "vllm": _open_vllm,
        "openai": _open_openai,
        "fake": _open_fake,
    }
    return openers[kind](rest, dict(adapters or {}), options)


def seen_by(
    name: str | Path, adapters: Mapping[str, str | Path] | None = None
) -> tuple[Origin, ...]:
    """Where the training events of a model and its adapters came from, as far as recorded.

    Args:
        name: As for :func:`open_language_model`; the model itself is not loaded.
        adapters: Likewise.

    Returns:
        Origins; none for models from elsewhere, which say nothing about what they have read.

    Raises:
        ConfigError: As for :func:`open_language_model`.
        ArtifactError: A record is damaged, or its weights are others.
    """
    kind, rest = parse_name(name)
    folders = [rest] if kind in ("tiny", "hf", "vllm") and Path(rest).is_dir() else []
    found = [seen_of(folder) for folder in [*folders, *(adapters or {}).values()]]
    return tuple(dict.fromkeys(origin for origins in found for origin in origins))


def parse_name(name: str | Path) -> tuple[str, str]:
    """The kind of a name, one of :data:`FORMS`, and what it stands for: a folder or what follows.

    Raises:
        ConfigError: It has no known form, or names an embedded model that is not there.

    >>> parse_name("openai:small@http://127.0.0.1:8000/v1")
    ('openai', 'small@http://127.0.0.1:8000/v1')
    """
    if isinstance(name, Path):
        return "hf", _existing_folder(name)
    kind, colon, rest = checked_model(name).partition(":")  # a key would be shown below
    if name == "fake":
        return "fake", ""
    if kind not in FORMS or not colon or kind == "fake":
        if Path(name).is_dir():
            return "hf", name
        hint = nearest_name(kind, FORMS) if colon else ""
        raise ConfigError(
            f"unknown language model {name!r}{hint if 'mean' in hint else ''}. Known forms are "
            f"{'; '.join(FORMS.values())}. There is no such folder either."
        )
    if not rest:
        raise ConfigError(f"{name!r} names no model; write {FORMS[kind]}.")
    if kind == "tiny":
        return "tiny", str(find_tiny(name).folder)
    if kind == "vllm" and rest.startswith(TINY):
        return "vllm", str(find_tiny(rest).folder)
    return kind, rest


def _existing_folder(path: Path) -> str:
    if not path.is_dir():
        raise ConfigError(f"there is no folder {path} to read a language model from.")
    return str(path)


def _open_hf(rest: str, adapters: dict[str, Any], options: dict[str, Any]) -> LanguageModel:
    from llmrec.inference.hf import HFLanguageModel

    _require_options("hf", HFLanguageModel, options)
    return HFLanguageModel(rest, adapters=adapters, **options)


def _open_vllm(rest: str, adapters: dict[str, Any], options: dict[str, Any]) -> LanguageModel:
    from llmrec.inference.vllm_engine import VLLMLanguageModel

    _require_options("vllm", VLLMLanguageModel, options)
    return VLLMLanguageModel(rest, adapters=adapters, **options)


def _open_openai(rest: str, adapters: dict[str, Any], options: dict[str, Any]) -> LanguageModel:
    from llmrec.inference.openai_client import OpenAICompatibleModel

    if adapters:
        raise ConfigError(
            "a server loads its adapters itself; start it with them and name one in a request."
        )
    start = max(rest.rfind(scheme) for scheme in _SCHEMES)
    if start < 1:
        # not shown: what stands there may be a key
        raise ConfigError(
            "a model on a server is named openai:MODEL@URL, like "
            "openai:small@http://127.0.0.1:8000/v1; the URL or the MODEL is missing."
        )
    _require_options("openai", OpenAICompatibleModel, options)
    return OpenAICompatibleModel(rest[start + 1 :], rest[:start], **options)


def _open_fake(rest: str, adapters: dict[str, Any], options: dict[str, Any]) -> LanguageModel:
    from llmrec.inference.fake import FakeLanguageModel

    _require_options("fake", FakeLanguageModel, options)
    return FakeLanguageModel(adapters=adapters, **options)


def _require_options(kind: str, backend: type[LanguageModel], options: dict[str, Any]) -> None:
    """Refuse an option that the backend's class does not have."""
    parameters = inspect.signature(backend).parameters.values()
    known = {each.name for each in parameters if each.default is not each.empty} - {"adapters"}
    for option in options.keys() - known:
        raise ConfigError(
            f"{kind} language models have no option {option!r}{nearest_name(option, known)}"
        )
