"""A vLLM server over a store, on loopback unless something else is asked for.

It checks what it can before vLLM starts: the key, the address, that the base model has the weights
that the experts were trained on, and that vLLM can serve adapters of this rank and on these
layers. Then it starts vLLM's own server with the gate before it.
"""

import ipaddress
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmrec.adapters.access import Tokens
from llmrec.adapters.bundle import Bundle
from llmrec.adapters.experts import BaseModelId
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.vllm_options import require_allowed
from llmrec.adapters.vllm_resolver import BASE, KEY, STORE, lease_seconds, register
from llmrec.errors import ConfigError
from llmrec.vllm_rooms import ROOMS, room_for

_BASE_NAME = "base"


def arguments(
    store: AdapterStore,
    base: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    slots: int = 8,
    public: bool = False,
    more: Sequence[str] = (),
    tokenizer: str = "",
) -> list[str]:
    """The command line for vLLM's server.

    Args:
        store: What is served.
        base: Folder of the base model.
        host: Address to listen on.
        port: Port.
        slots: Adapters in one batch.
        public: Allow an address that others can reach.
        more: Further options of vLLM, such as ``--dtype float32``.
        tokenizer: Hash of the tokenizer in ``base``; nothing leaves it unchecked.

    Raises:
        ConfigError: The address is not loopback, or an option would undo the gate or a check.
        ArtifactError: The base model is not the experts', or its tokenizer not the training's.
    """
    if not public and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached by others; put a proxy with TLS before 127.0.0.1, or say "
            "--public if this is meant."
        )
    require_allowed(more)
    store.experts.base.require(BaseModelId.of_folder(base))
    store.bundle.require(Bundle(base_model="", experts="", tokenizer=tokenizer))
    rank = store.settings.rank or store.experts.config.adapter_rank
    room = room_for(rank)
    if room is None:
        raise ConfigError(f"adapters have rank {rank}, and vLLM serves at most {ROOMS[-1]}.")
    layers = sorted({site.path.rpartition(".")[2] for site in store.experts.sites})
    if "lm_head" in layers:
        raise ConfigError("vLLM does not serve adapters on the last layer (lm_head).")
    return [
        "--model", str(base), "--served-model-name", _BASE_NAME, "--host", host,
        "--port", str(port), "--enable-lora", "--max-lora-rank", str(room),
        "--max-loras", str(slots), "--max-cpu-loras", str(4 * slots),
        "--lora-target-modules", *layers,
        "--middleware", "llmrec.adapters.vllm_gate.OwnAdapterOnly", *more,
    ]  # fmt: skip


def prepare(store: AdapterStore, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the environment of the server must hold.

    Raises:
        ConfigError: The key is missing or too short, or a variable is out of range.
    """
    Tokens(environment.get(KEY, ""))
    lease_seconds(environment)
    return {
        STORE: str(store.folder.resolve()),
        BASE: _BASE_NAME,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_PLUGINS": "llmrec_adapters",
        "VLLM_NO_USAGE_STATS": "1",
    }


def serve(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run vLLM's server in this process, with the resolver registered."""
    import runpy

    os.environ.update(environment)
    register()
    sys.argv = ["vllm", *command]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
