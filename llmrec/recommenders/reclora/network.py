"""The trained part: frozen base model, experts and gates, judged by the answer token alone.

The loss is the cross-entropy between yes and no: a two-way softmax over the logits of the two
answers at the last position of the prompt (reclora.md 2.7). The whole vocabulary plays no part.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmrec.adapters.config import temperature_at
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.gates import gate_diagnostics
from llmrec.adapters.proximal import Proximal
from llmrec.recommenders.reclora.parting import is_parted, leave_frozen_alone, most_of_all


@dataclass(frozen=True)
class Bucket:
    """Prompts of similar length.

    Attributes:
        ids: ``[b, T]`` int64, every prompt ending in the last column.
        there: ``[b, T]`` bool, which are no padding.
        gates: ``[b, d]`` float32 what the gates read, or ``[b, gates, K]`` their weights where
            nothing is to be learnt of them.
        labels: ``[b]`` float32, 1 for yes.
    """

    ids: Tensor
    there: Tensor
    gates: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Bucket":
        """The same on another device."""
        return Bucket(*(x.to(device) for x in (self.ids, self.there, self.gates, self.labels)))


@dataclass(frozen=True)
class PromptBatch:
    """Rows of a step, in buckets by length."""

    buckets: Sequence[Bucket]

    @property
    def n_targets(self) -> int:
        """Number of prompts."""
        return sum(len(bucket.labels) for bucket in self.buckets)

    def to(self, device: torch.device) -> "PromptBatch":
        """The same batch on another device."""
        return PromptBatch([bucket.to(device) for bucket in self.buckets])


class AnswerLoss(nn.Module):
    """Summed loss of a batch, for the training loop.

    State dicts hold what is trained and not the frozen base model, so that checkpoints stay small.

    Args:
        lora: The base model with experts and gates.
        answers: Tokens of yes and no.
        passes: Forward passes of the whole training, for the fall of the gates' temperature; 0
            keeps it where it ends.
        pull: Holds the weights near earlier ones; its penalty counts once per prompt.

    Attributes:
        needs_all_processes: The base model is parted, so that all must make equally many passes.
    """

    def __init__(
        self,
        lora: GatedLora,
        answers: tuple[int, int],
        passes: int,
        pull: Proximal | None = None,
    ) -> None:
        super().__init__()
        self.lora, self.answers, self._passes, self._pull = lora, answers, passes, pull
        self.passed: Tensor
        self.register_buffer("passed", torch.zeros((), dtype=torch.int64))
        self._load: Mapping[str, float] = {}
        self.needs_all_processes = is_parted(lora)
        if self.needs_all_processes:
            leave_frozen_alone(self)
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        self.kept = trained | {"passed"}
        self.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_accept_without_frozen)  # type: ignore[no-untyped-call]

    def forward(self, batch: PromptBatch) -> Tensor:
        """The sum over the prompts, a scalar."""
        done = int(self.passed) / self._passes if self._passes else 1.0
        temperature = temperature_at(self.lora.config_lora, done)
        if self.training:
            self.passed += 1
        total = torch.zeros((), device=self.passed.device)
        gates = [self._weights(bucket.gates, temperature) for bucket in batch.buckets]
        if self.needs_all_processes:
            total = total + self._further_passes(batch, gates)
        for bucket, weights in zip(batch.buckets, gates, strict=True):
            odds = answer_odds(self.lora, bucket.ids, bucket.there, weights, self.answers)
            total = total + nn.functional.binary_cross_entropy_with_logits(
                odds.float(), bucket.labels, reduction="sum"
            )
        everybody = torch.cat(gates)  # a bucket alone may hold a single user
        total = total + self.lora.balance(everybody) * batch.n_targets
        activation = self.lora.config_lora.gate_activation
        self._load = self._load or gate_diagnostics(everybody.detach(), activation)
        return total if self._pull is None else total + self._pull.penalty() * batch.n_targets

    def _further_passes(self, batch: PromptBatch, gates: Sequence[Tensor]) -> Tensor:
        """0, from as many passes of a prompt as others have more buckets than this process."""
        first, total = batch.buckets[0], torch.zeros((), device=self.passed.device)
        for _ in range(most_of_all(len(gates), total.device) - len(gates)):
            ids, there = first.ids[:1], first.there[:1]
            total = total + answer_odds(self.lora, ids, there, gates[0][:1], self.answers).sum() * 0
        return total

    def _weights(self, gates: Tensor, temperature: float) -> Tensor:
        """``[b, gates, K]`` of a bucket; ``[1, gates, K]`` where nothing is to be learnt."""
        return gates if gates.dim() == 3 else self.lora.gate_weights(gates, temperature)

    def start_epoch(self, epoch: int) -> None:
        """Look at the gates of the first batch of this epoch."""
        self._load = {}

    def end_epoch(self) -> Mapping[str, float]:
        """How even the gates were at the start of the epoch."""
        return {f"gate_{name}": value for name, value in self._load.items()}


def answer_odds(
    lora: GatedLora, ids: Tensor, there: Tensor, weights: Tensor | None, answers: tuple[int, int]
) -> Tensor:
    """Log-odds of yes against no after every prompt: ``[b]``.

    Args:
        lora: The model.
        ids: ``[b, T]``, every prompt ending in the last column.
        there: ``[b, T]`` which are no padding.
        weights: ``[b, gates, K]`` of the gates, one row for all, or None without adapters.
        answers: Tokens of yes and no.
    """
    positions = (there.cumsum(1) - 1).clamp_(min=0)
    logits = last_logits(lora, ids, there.long(), positions, weights, 1)[:, -1]
    return logits[:, answers[0]] - logits[:, answers[1]]


def last_logits(
    lora: GatedLora,
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    weights: Tensor | None,
    keep: int | Tensor,
) -> Tensor:
    """Logits at some positions: ``[b, kept, V]``.

    Args:
        lora: The model.
        ids: ``[b, T]``.
        mask: What each token sees, in a form that transformers take.
        positions: ``[b, T]``.
        weights: As for :func:`answer_odds`.
        keep: How many last positions, or which ones.
    """
    with lora.using(weights) as base:
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        accepted = inspect.signature(base.forward).parameters
        if "position_ids" in accepted:
            given["position_ids"] = positions
        if "logits_to_keep" in accepted:
            return base(**given, logits_to_keep=keep).logits  # type: ignore[no-any-return]
        logits: Tensor = base(**given).logits
    return logits[:, -keep:] if isinstance(keep, int) else logits[:, keep]


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, AnswerLoss)
    for name in [n for n in state if n.removeprefix(prefix) not in module.kept]:
        del state[name]


def _accept_without_frozen(module: nn.Module, keys: Any) -> None:
    assert isinstance(module, AnswerLoss)
    keys.missing_keys[:] = [name for name in keys.missing_keys if name in module.kept]
