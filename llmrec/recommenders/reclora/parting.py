"""The frozen base model parted among the processes of a training, for models too big for a device.

Every process holds a share of each block's weights; a block is put together when it computes and
given up again (fully_shard of torch). Experts and gates stay whole in every process, and their
gradients are summed as in any training by several processes. Every pass of the base model is then
one of all processes: they must make equally many, in training, in validation and in scoring.
"""

from collections.abc import Iterable

import torch
import torch.distributed
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from llmrec.adapters.gated_lora import GatedLora
from llmrec.errors import ConfigError
from llmrec.training.setup import processes


def part_base(lora: GatedLora) -> None:
    """Part the frozen weights among the processes of this launch; one process keeps them whole.

    The base model may lie in main memory: block by block, what is kept goes to the device.

    Raises:
        ConfigError: The base model does not say what its blocks are.
    """
    state, base = processes(), lora.model
    if state.num_processes > 1:
        blocks = _blocks_of(base)
        mesh = init_device_mesh(state.device.type, (state.num_processes,))
        learnt = {weight for weight in base.parameters() if weight.requires_grad}
        for module in (*blocks, base):
            fully_shard(module, mesh=mesh, ignored_params=learnt)
    lora.to(state.device)


def is_parted(lora: GatedLora) -> bool:
    """Whether every pass of the base model needs all processes."""
    return isinstance(lora.model, FSDPModule)


def leave_frozen_alone(module: nn.Module) -> None:
    """Tell torch's data parallelism that frozen weights and buffers of a module need no syncing."""
    frozen = [name for name, weight in module.named_parameters() if not weight.requires_grad]
    buffers = [name for name, _ in module.named_buffers()]
    module._ddp_params_and_buffers_to_ignore = [*frozen, *buffers]  # type: ignore[assignment]


def most_of_all(number: int, device: torch.device) -> int:
    """The largest number that any process gives."""
    found = torch.tensor(number, device=device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return int(found)


def _blocks_of(base: nn.Module) -> Iterable[nn.Module]:
    names = set(getattr(base, "_no_split_modules", None) or ())
    blocks = [module for module in base.modules() if type(module).__name__ in names]
    if not blocks:
        raise ConfigError(
            f"shard_base: {type(base).__name__} does not say which modules are its blocks, so its "
            "weights cannot be parted; train it without shard_base."
        )
    return blocks
