"""A ``LoRAResolver`` for vLLM: adapters of a store, made when somebody first asks for them.

Installed as the plug-in ``llmrec_adapters``; it does nothing unless ``LLMREC_ADAPTER_STORE`` names
a store. vLLM tells a resolver a name and nothing about who asks, and serves a name that it knows
to anybody. So names are resolved only where :class:`~llmrec.adapters.vllm_gate.OwnAdapterOnly`
stands before the server. Names are hashes of contents and never change their meaning.
"""

import asyncio
import logging
import math
import os
import threading
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError, LlmrecError

STORE, KEY, LEASE, BASE = (
    "LLMREC_ADAPTER_STORE",
    "LLMREC_ADAPTER_KEY",
    "LLMREC_ADAPTER_LEASE",
    "LLMREC_ADAPTER_BASE",
)
"""Variables of the environment: folder of the store, key of tokens, seconds for which files of a
request are kept, and the name under which the base model is served."""

_NAME = "llmrec adapter store"
_log = logging.getLogger(__name__)
_opening = threading.Lock()


class StoreResolver:
    """Resolves names of a store; vLLM asks it through its registry.

    Args:
        folder: The store.
    """

    guarded = False
    """Whether requests of this process are checked before they arrive."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """A ``LoRARequest``, or None for a name that stands for nothing.

        Args:
            base_model_name: What vLLM calls the base model; the store's experts are checked
                against its weights when the server starts.
            lora_name: A name that the store gave out.
        """
        if not type(self).guarded:
            _log.error(
                "adapter %r is not served: start vLLM with --middleware "
                "llmrec.adapters.vllm_gate.OwnAdapterOnly, or by 'llmrec adapters serve'.",
                lora_name[:80],
            )
            return None
        try:
            store = await asyncio.to_thread(opened_store, self.folder)
            # the gate has counted this request
            asked = partial(store.adapter_named, lora_name, lease=lease_seconds(), counted=False)
            adapter = await asyncio.to_thread(asked)
        except LlmrecError as error:
            _log.warning("adapter %r is not served: %s", lora_name[:80], error)
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest(adapter.name, adapter.number, str(adapter.path.resolve()))


def opened_store(folder: Path) -> Any:
    """The store of this process, opened once, whichever threads ask for it first."""
    with _opening:
        return _opened(folder)


@cache
def _opened(folder: Path) -> Any:
    from llmrec.adapters.store import AdapterStore

    return AdapterStore(folder)


def lease_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds for which the files behind a request stay.

    Raises:
        ConfigError: The variable does not say a number of them.
    """
    said = environment.get(LEASE, "900")
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigError(f"{LEASE} is {said!r:.40}; set it to a number of seconds, 0 or more.")
    return seconds


def register() -> None:
    """What vLLM calls in every process when it loads plug-ins."""
    folder = os.environ.get(STORE)
    if not folder:
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    if _NAME not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver(_NAME, StoreResolver(folder))
