"""FSDP as a launch by accelerate asks for it, taken over by models that part themselves.

accelerate would wrap the whole module, with all its weights. A model that parts only what is frozen
(RecLoRA's ``shard_base``) needs no such wrapping, so its script takes the request over. What cannot
be had that way is refused by name.
"""

import os
from dataclasses import dataclass

from accelerate.utils import parse_flag_from_env

from llmrec.errors import ConfigError

_FLAG = "ACCELERATE_USE_FSDP"

_SUPPORTED = {
    "FSDP_OFFLOAD_PARAMS": ("false",),
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": ("false",),
    "FSDP_RESHARD_AFTER_FORWARD": ("true", "full_shard"),
    "FSDP_SHARDING_STRATEGY": ("full_shard", "1"),
    "FSDP_AUTO_WRAP_POLICY": ("transformer_based_wrap",),
}


@dataclass(frozen=True)
class FsdpRequest:
    """What a launch asks for.

    Attributes:
        recomputes: Activations are computed again in the backward pass.
    """

    recomputes: bool


def take_over_fsdp() -> FsdpRequest | None:
    """What the launch asks for, or None if not for FSDP; accelerate itself then wraps nothing.

    Base models are parted at the blocks that they name, whatever
    ``fsdp_transformer_layer_cls_to_wrap`` says, and every process reads them itself, whatever
    ``fsdp_cpu_ram_efficient_loading`` says.

    Raises:
        ConfigError: The launch asks for something else than full shares, block by block, on the
            device.
    """
    if not parse_flag_from_env(_FLAG):
        return None
    for name, supported in _SUPPORTED.items():
        given = os.environ.get(name, supported[0])
        if given.lower() not in supported:
            raise ConfigError(
                f"the launch asks for {name.lower()}: {given}, which is not supported; set it to "
                f"{supported[0]} in the configuration of accelerate."
            )
    del os.environ[_FLAG]
    return FsdpRequest(parse_flag_from_env("FSDP_ACTIVATION_CHECKPOINTING"))
