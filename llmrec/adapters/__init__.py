"""Who gets which LoRA: gated experts, materialised adapters and the store that keeps them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec.adapters.bundle import Bundle
    from llmrec.adapters.config import GatedLoraConfig
    from llmrec.adapters.diagnostics import diagnose
    from llmrec.adapters.experts import Experts
    from llmrec.adapters.gated_lora import GatedLora
    from llmrec.adapters.proximal import Proximal
    from llmrec.adapters.recipes import lora_recipe
    from llmrec.adapters.refresh import GateSource
    from llmrec.adapters.store import AdapterStore

_PLACES = {
    "AdapterStore": "store",
    "Bundle": "bundle",
    "Experts": "experts",
    "GateSource": "refresh",
    "GatedLora": "gated_lora",
    "GatedLoraConfig": "config",
    "Proximal": "proximal",
    "diagnose": "diagnostics",
    "lora_recipe": "recipes",
}

__all__ = [
    "AdapterStore",
    "Bundle",
    "Experts",
    "GateSource",
    "GatedLora",
    "GatedLoraConfig",
    "Proximal",
    "diagnose",
    "lora_recipe",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the store does not need what trains, nor the other way round."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(import_module(f"llmrec.adapters.{_PLACES[name]}"), name)
