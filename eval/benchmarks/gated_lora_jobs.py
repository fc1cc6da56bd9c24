"""What the benchmarks of gated LoRA run, on any device: the same users served in different ways.

Every way answers the same question (log-probabilities of the token after a prompt, one user per
row), so that equal work can be checked before it is timed. Models have random weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.context import Route
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.materialise import materialise
from llmrec.testing.sized_llama import LlamaShape, pairs_behind

SHAPE = LlamaShape(1024, 2816, 4, 16, 16, vocab_size=4096)
"""Four blocks of a 1024-wide Llama: large enough that matrix products take nearly all the time."""

LARGE = LlamaShape(2048, 5632, 16, 16, 16, vocab_size=32000, head_dim=128)
"""A Llama of 0.9 billion weights, for accelerators."""

TINY = LlamaShape(128, 256, 2, 2, 2, vocab_size=512)
TARGETS = ("q_proj", "v_proj")
EXPERTS, RANK, GATE_DIM = 8, 8, 32

Job = Callable[[], Tensor | None]


@dataclass(frozen=True)
class Users:
    """Rows of a batch: tokens and gate weights of different users.

    Attributes:
        ids: ``[rows, tokens]``.
        weights: ``[rows, gates, experts]``.
    """

    ids: Tensor
    weights: Tensor


def base(shape: LlamaShape, device: str, dtype: torch.dtype) -> nn.Module:
    """The base model, the same weights every time."""
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = LlamaForCausalLM(shape.config())
    return model.to(device, dtype).eval()  # type: ignore[no-any-return]


def gated(
    shape: LlamaShape,
    device: str,
    dtype: torch.dtype = torch.float32,
    compose: str = "merge_factors",
) -> GatedLora:
    """Gated LoRA with random experts on the base model."""
    experts, gate_dim = (1, 0) if compose == "shared" else (EXPERTS, GATE_DIM)
    config = GatedLoraConfig(
        target_modules=TARGETS, compose=compose, experts=experts, rank=RANK, alpha=2 * RANK,
        gate_dim=gate_dim, b_noise=0.02,
    )  # fmt: skip
    network = base(shape, device, dtype)
    torch.manual_seed(1)
    model = GatedLora(network, config)
    for parameter in model.parameters():
        if parameter.requires_grad and dtype != torch.float32:
            parameter.data = parameter.data.to(dtype)  # as it would be served
    return model.eval()


def users_of(model: GatedLora, shape: LlamaShape, rows: int, tokens: int, device: str) -> Users:
    """Different users with different prompts."""
    ids = torch.randint(
        1, shape.vocab_size, (rows, tokens), generator=torch.Generator().manual_seed(2)
    )
    drawn = torch.randn((rows, model.n_gates, EXPERTS), generator=torch.Generator().manual_seed(3))
    return Users(ids.to(device), (2 * drawn).softmax(-1).to(device))


def fused(model: GatedLora, users: Users, route: Route = "auto") -> Job:
    """All users in one batch."""
    return lambda: _answers(model, users.ids, gate_weights=users.weights, route=route)


def un_adapted(network: nn.Module, users: Users) -> Job:
    """The same batch without adapters."""

    def run() -> None:
        _answers(network, users.ids)

    return run


def one_user_at_a_time(model: GatedLora, users: Users) -> Job:
    """Our own path, a batch of one for each user: nothing is swapped."""

    def run() -> Tensor:
        rows = range(len(users.ids))
        parts = [
            _answers(model, users.ids[r : r + 1], gate_weights=users.weights[r : r + 1])
            for r in rows
        ]
        return torch.cat(parts)

    return run


def peft_model(model: GatedLora, shape: LlamaShape, users: Users) -> Any:
    """The same users as plain peft adapters on another copy of the base model."""
    first = next(model.model.parameters())
    network = base(shape, str(first.device), first.dtype)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS))
    theirs: Any = None
    experts = model.experts()
    for row, weights in enumerate(users.weights.cpu()):
        name = f"user{row}"
        if theirs is None:
            theirs = get_peft_model(
                network, config, adapter_name=name, autocast_adapter_dtype=False
            )
        else:
            theirs.add_adapter(name, config)
        made = materialise(experts, weights)
        with torch.no_grad():
            for key, tensor in made.tensors.items():
                target = key.removesuffix(".weight") + f".{name}.weight"
                theirs.get_parameter(target).data.copy_(tensor)
    return theirs.to(first.dtype).eval()


def peft_mixed(theirs: Any, users: Users) -> Job:
    """Peft's batch of mixed adapters."""
    names = [f"user{row}" for row in range(len(users.ids))]
    return lambda: _answers(theirs, users.ids, adapter_names=names)


def peft_one_by_one(theirs: Any, users: Users) -> Job:
    """Peft, an adapter at a time."""

    def run() -> Tensor:
        parts = []
        for row in range(len(users.ids)):
            theirs.set_adapter(f"user{row}")
            parts.append(_answers(theirs, users.ids[row : row + 1]))
        return torch.cat(parts)

    return run


def training_step(
    model: Any, ids: Tensor, given: dict[str, Tensor], learning_rate: float = 1e-4
) -> Callable[[], Tensor]:
    """Forward, backward and AdamW on the trainable weights."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=learning_rate)
    model.train()

    def run() -> Tensor:
        logits = model(input_ids=ids, use_cache=False, **given).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return run


def shared_peft(shape: LlamaShape, device: str, dtype: torch.dtype = torch.float32) -> Any:
    """One LoRA for everybody, by peft."""
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS))
    return get_peft_model(base(shape, device, dtype), config, autocast_adapter_dtype=False)


def low_rank_share(shape: LlamaShape, rank: int) -> float:
    """Operations of stacked factors over those of the blocks' matrices, per token.

    ``K r (d_in + d_out)`` per adapted layer (reclora.md 2.9) over all weights of the blocks.

    >>> round(low_rank_share(SHAPE, 64), 4)
    0.0204
    """
    heads = shape.heads * shape.head_dim + shape.kv_heads * shape.head_dim
    return shape.layers * rank * (2 * shape.width + heads) / shape.block_weights


def batch_flops(shape: LlamaShape, rows: int, tokens: int) -> float:
    """Operations of the base model on a batch, logits at the last position."""
    return shape.forward_flops(rows * tokens, rows * pairs_behind(0, tokens), rows)


@torch.inference_mode()
def _answers(model: Any, ids: Tensor, **given: Any) -> Tensor:
    logits = model(input_ids=ids, logits_to_keep=1, use_cache=False, **given).logits[:, -1]
    found: Tensor = logits.float().log_softmax(-1)
    return found
