"""A trained RecLoRA without ids: codes and histories in, gate weights and log-odds out."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.gates import even_gates
from llmrec.data.histories import Histories
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.questions import Questions
from llmrec.recommenders.reclora.scoring import Judge
from llmrec.recommenders.reclora.states import GateInputs
from llmrec.recommenders.reclora.token_rows import TokenRows

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

_STATES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Pairs:
    """Histories and one item each, ready to be judged again and again.

    Attributes:
        beginnings: ``[n]`` of their prompts.
        items: ``[n]`` item codes.
        inputs: ``[n, d]`` what gates read; None where they read nothing.
        lengths: ``[n]`` events of the histories.
        left_out: ``[n]`` events that a prompt was to tell and has no room for.
    """

    beginnings: TokenRows
    items: Int32
    inputs: Float32 | None
    lengths: npt.NDArray[np.int64]
    left_out: npt.NDArray[np.int64]

    @property
    def cut(self) -> dict[str, int]:
        """How many prompts are cut, and events left out of them."""
        prompts, events = int((self.left_out > 0).sum()), int(self.left_out.sum())
        return {"cut_prompts": prompts, "cut_events": events}

    def with_inputs(self, inputs: Float32) -> "Pairs":
        """The same pairs, with other gate inputs."""
        return dataclasses.replace(self, inputs=inputs)


class Ranker:
    """Gates, experts and prompts together.

    Args:
        config: Settings.
        ctr: The frozen CTR model.
        lora: The base model with experts and gates.
        questions: The text side.
        answers: Tokens of yes and no.
        inputs: What gates read; None where all weigh experts alike.

    Attributes:
        prior: ``[gates, K]`` weights of those who have no events.
        fallbacks: How many histories were served by them.
        served: How many histories were served by weights of their own or by these.
    """

    def __init__(
        self,
        config: RecLoRAConfig,
        ctr: CTRModel[Any],
        lora: GatedLora,
        questions: Questions,
        answers: tuple[int, int],
        inputs: GateInputs | None,
    ) -> None:
        self.config, self.ctr, self.lora = config, ctr, lora
        self.questions, self.answers, self.inputs = questions, answers, inputs
        self.prior: Float32 = even_gates(lora.config_lora, lora.n_gates).numpy()
        self.fallbacks = self.served = 0
        self.judge = Judge(lora, questions.ends, answers, config.tokens_at_once)

    def prepare(self, histories: Histories, items: Int32) -> Pairs:
        """Everything about pairs that training does not change."""
        inputs = None if self.inputs is None else self.inputs.of(self.ctr, histories, items)
        beginnings, left_out = self.questions.writer.written(self.questions.told(histories, items))
        return Pairs(beginnings, items, inputs, histories.lengths, left_out)

    def pair_odds(self, pairs: Pairs) -> Float32:
        """Log-odds of yes: ``[n]``."""
        weights = self.weights(pairs.inputs, pairs.lengths)
        return self.judge.pairs(pairs.beginnings, pairs.items, weights)

    def base_odds(self, pairs: Pairs) -> Float32:
        """Log-odds of the base model without any adapter: ``[n]``."""
        return self.judge.pairs(pairs.beginnings, pairs.items, None)

    def list_odds(self, histories: Histories, codes: Int32) -> Float32:
        """Log-odds of yes for every history's items: ``[n, C]``."""
        if not self.config.shares_prefix:
            owners = np.repeat(np.arange(len(codes)), codes.shape[1])
            pairs = self.prepare(histories.take(owners), np.maximum(codes, 1).ravel())
            return self.pair_odds(pairs).reshape(codes.shape)
        inputs = None if self.inputs is None else self.inputs.of(self.ctr, histories, None)
        weights = self.weights(inputs, histories.lengths)
        return self.judge.lists(self.questions.beginnings(histories), codes, weights)

    def weights(self, inputs: Float32 | None, lengths: npt.NDArray[np.int64]) -> Tensor:
        """Weights of the experts: ``[n, gates, K]`` on the CPU, or one row for all.

        Args:
            inputs: ``[n, d]`` what gates read, or None.
            lengths: ``[n]`` events of the histories: without any, the prior's weights are given
                and counted; with ``m``, they are drawn to it by ``shrink / (m + shrink)``.
        """
        if inputs is not None:
            self.served += len(lengths)
            self.fallbacks += int((lengths == 0).sum())
        return self.weights_uncounted(inputs, lengths)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Judge and rank without counting it: a validation serves nobody."""
        before = self.fallbacks, self.served
        try:
            yield
        finally:
            self.fallbacks, self.served = before

    def weights_uncounted(self, inputs: Float32 | None, lengths: npt.NDArray[np.int64]) -> Tensor:
        """As :meth:`weights`, for those who look at gates and serve nobody."""
        prior = torch.from_numpy(self.prior)
        if inputs is None:
            return prior.unsqueeze(0)
        own = np.where(lengths > 0, lengths / np.maximum(lengths + self.config.shrink, 1), 0)
        with torch.inference_mode():
            share = torch.from_numpy(own.astype(np.float32))[:, None, None]
            return share * self.own_weights(inputs) + (1 - share) * prior

    @torch.inference_mode()
    def own_weights(self, inputs: Float32) -> Tensor:
        """Weights as gates give them for ``[n, d]`` inputs, drawn to nothing: ``[n, gates, K]``."""
        self.lora.eval()
        parts = [
            self.lora.gate_weights(torch.from_numpy(inputs[i : i + _STATES_AT_ONCE])).cpu()
            for i in range(0, len(inputs), _STATES_AT_ONCE)
        ]
        return torch.cat(parts) if parts else torch.empty(0, *self.prior.shape)
