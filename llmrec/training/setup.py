"""What a training loop needs before it starts: processes, accelerator and optimiser."""

import gc

import torch

# Functions of this module take the default process group as a default argument when they are
# defined. Imported after the group was made, as torch does by itself, they keep it for good.
import torch.distributed.nn.functional
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env
from torch import nn

from llmrec.errors import ConfigError
from llmrec.training.config import TrainingConfig

_PRECISION = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}


def processes() -> PartialState:
    """The processes of this launch: one, or as many as accelerate or torchrun started.

    On a machine without a GPU accelerate joins the others only when told that it is to use CPUs;
    left alone, every process would train by itself.
    """
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=on_cpu)


def end_processes() -> None:
    """Part the processes of this launch; every script they run calls it last.

    What still holds their group, a wrapped module for one, is freed first, so that the group goes
    at once and waits for its threads. A thread that lives on may end after the interpreter, which
    aborts the process although all its work is done.
    """
    gc.collect()
    processes().destroy_process_group()


def make_accelerator(config: TrainingConfig, skips_parameters: bool = False) -> Accelerator:
    """The accelerator for a training's precision and trackers.

    Args:
        config: The settings.
        skips_parameters: Some steps leave parameters of the module unused; several processes then
            have to look for them.

    Raises:
        ConfigError: The precision is fp16 and there is no GPU, or the launch is to part the module
            by FSDP or DeepSpeed, which this loop cannot validate and save.
    """
    for kind in ("FSDP", "DEEPSPEED"):
        if parse_flag_from_env(f"ACCELERATE_USE_{kind}"):
            raise ConfigError(
                f"accelerate was told to use {kind}, which the training loop does not support; "
                "launch plain processes (for RecLoRA, shard_base parts the base model)."
            )
    processes()
    precision = _PRECISION[config.precision]
    # accelerate fixes one precision per process; another training may want another.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    accelerator = Accelerator(
        mixed_precision=precision,
        log_with=list(config.report_to) or None,
        # modules keep their buffers equal themselves; sending a bank of states every step is slow
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                broadcast_buffers=False, find_unused_parameters=skips_parameters
            )
        ],
    )
    if precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("precision fp16 needs a GPU; use float32 or bf16 on a CPU.")
    return accelerator


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, norms) are not decayed."""
    trained = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        fused=True,
    )
