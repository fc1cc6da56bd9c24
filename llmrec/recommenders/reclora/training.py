"""Few2Many, second stage: experts and gates learn while base and CTR model stay as they are."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.adapters.diagnostics import collapse_warnings
from llmrec.adapters.gated_lora import GatedLora, expert_similarity
from llmrec.adapters.gates import gate_diagnostics
from llmrec.adapters.proximal import Proximal
from llmrec.data.hashing import hash_arrays
from llmrec.errors import TrainingError
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.learnt_events import events_hash
from llmrec.recommenders.reclora.answers import answer_ids, answer_texts
from llmrec.recommenders.reclora.base_model import BaseModel
from llmrec.recommenders.reclora.batches import PromptRows
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.network import AnswerLoss
from llmrec.recommenders.reclora.questions import Questions
from llmrec.recommenders.reclora.ranker import Pairs, Ranker
from llmrec.recommenders.reclora.rows import JudgedRows
from llmrec.recommenders.reclora.states import GateInputs, raw_states
from llmrec.training.config import TrainingConfig
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer, Validate

_ABOUT_MEMORY = ("gradient_checkpointing", "shard_base")  # may change when a training is resumed


@dataclass(frozen=True)
class Checkpointing:
    """Where a training keeps its checkpoints.

    Attributes:
        folder: The directory, or None for none.
        resume: Continue from the newest whole checkpoint there.
    """

    folder: Path | None
    resume: bool

    def of(self, part: str) -> Path | None:
        """The directory of one of the two stages."""
        return None if self.folder is None else self.folder / part


class Halted(TrainingError):
    """Training stopped half-way, and the best weights so far are in place.

    Args:
        sentence: What happened.
        cut: As :func:`train_ranker` returns it.
    """

    def __init__(self, sentence: str, cut: dict[str, int]) -> None:
        super().__init__(sentence)
        self.cut = cut


class _Watched:
    """A validation, and whether the training loop has weights to put back because of it."""

    def __init__(self, validate: Validate, metric: str) -> None:
        self._validate, self._metric, self.kept = validate, metric, False

    def __call__(self) -> Mapping[str, float]:
        found = self._validate()
        value = found.get(self._metric)
        self.kept = value is not None and (self.kept or value > -math.inf)
        return found


def make_ranker(
    config: RecLoRAConfig,
    base: BaseModel,
    questions: Questions,
    ctr: CTRModel[Any],
    inputs: GateInputs | None,
) -> Ranker:
    """Put untrained experts and gates on a base model.

    Raises:
        ConfigError: A target layer is missing, or the two answers cannot be told apart.
    """
    found = answer_ids(base.tokens, answer_texts(config.answers, base.tokens))
    reads = config.lora.compose != "shared"
    dim = ctr.user_dim if config.lora.gate_input == "user" else ctr.instance_dim
    seed_everything(config.training.seed)
    lora = GatedLora(base.network, config.lora.settings(dim if reads else 0), base.place)
    if config.gradient_checkpointing:
        lora.gradient_checkpointing_enable()
    if config.gate_control == "uniform" and lora.gates is not None:
        lora.gates.requires_grad_(False)
    return Ranker(config, ctr, lora, questions, found, inputs)


def gate_inputs_of(
    config: RecLoRAConfig, ctr: CTRModel[Any], rows: JudgedRows
) -> GateInputs | None:
    """What gates read, scaled on the training rows; None where they read nothing."""
    if config.lora.compose == "shared" or config.gate_control == "uniform":
        return None
    kind = config.lora.gate_input
    states = raw_states(ctr, kind, rows.histories, rows.items)
    shuffled = rows.histories.user_ids if config.gate_control == "shuffled" else None
    return GateInputs.fit(kind, states, shuffled, config.gate_scale == "whitened")


def train_ranker(
    ranker: Ranker, rows: JudgedRows, validate: Validate | None, checkpointing: Checkpointing
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Train experts and gates in place, and set the weights of those without events.

    Args:
        ranker: Untrained.
        rows: What is learnt from.
        validate: Returns ``config.training.metric``.
        checkpointing: Where checkpoints go.

    Returns:
        The log, and how many prompts were cut; see :attr:`Pairs.cut`.

    Raises:
        Halted: The loss is not finite; the best weights so far are in place.
        TrainingError: The same before any weights were validated, so that none can be used; or
            checkpoints are of another training.
    """
    config, training = ranker.config, ranker.config.training
    pairs, source = _learnt(ranker, rows)
    loss = AnswerLoss(ranker.lora, ranker.answers, _passes(training, len(rows)))
    settings = config.model_dump(mode="json", exclude={"training", *_ABOUT_MEMORY})
    asked = {"items": rows.items, "labels": rows.labels}
    settings["training_events"] = events_hash(rows.histories) + hash_arrays(asked)[:16]
    folder = checkpointing.of("experts")
    trainer = Trainer(training, folder, checkpointing.resume, model_settings=settings)
    watched = None if validate is None else _Watched(validate, training.metric)
    try:
        log = trainer.fit(loss, source, watched)
    except TrainingError as error:
        if watched is None or not watched.kept:
            raise
        _finish(ranker, pairs)
        raise Halted(str(error), pairs.cut) from error
    _finish(ranker, pairs)
    return log, pairs.cut


def continue_ranker(
    ranker: Ranker, rows: JudgedRows, training: TrainingConfig, mu: float
) -> list[dict[str, Any]]:
    """Train experts and gates on further rows, pulled to what they are now (reclora.md 5.1).

    Args:
        ranker: Trained; changed in place.
        rows: What is learnt from.
        training: Settings of the loop.
        mu: Strength of the pull; 0 is none.

    Returns:
        The log, with ``moved`` (how far the weights went) in its last row.

    Raises:
        TrainingError: The loss is not finite; the ranker is as it was before.
    """
    pairs, source = _learnt(ranker, rows)
    pull = Proximal(ranker.lora, mu)
    loss = AnswerLoss(ranker.lora, ranker.answers, 0, pull)
    try:
        log = Trainer(training).fit(loss, source)
    except BaseException:  # half an update would belong to no bundle
        pull.undo()
        ranker.lora.eval()
        raise
    _finish(ranker, pairs)
    return [*log[:-1], {**log[-1], "moved": pull.distance()}]


def _learnt(ranker: Ranker, rows: JudgedRows) -> tuple[Pairs, PromptRows]:
    """Rows as prompts with what gates read, and as batches."""
    config = ranker.config
    pairs = ranker.prepare(rows.histories, rows.items)
    _tell_of_cut(config, pairs)
    source = PromptRows(
        pairs.beginnings,
        ranker.questions.ends,
        rows.items,
        ranker.prior[None] if pairs.inputs is None else pairs.inputs,
        rows.labels,
        config.tokens_at_once,
        ranker.questions.bare,
        config.history_dropout,
    )
    return pairs, source


def _tell_of_cut(config: RecLoRAConfig, pairs: Pairs) -> None:
    prompts, events = pairs.cut.values()
    if prompts:
        warnings.warn(
            f"{prompts} of {len(pairs.lengths)} training prompts have no room for all events they "
            f"were to tell ({events} of the oldest are left out): max_tokens is "
            f"{config.max_tokens}, text_history {config.text_history}. Raise the one or lower the "
            "other if that is not meant.",
            UserWarning,
            stacklevel=2,
        )


def _finish(ranker: Ranker, pairs: Pairs) -> None:
    """Leave training mode, and give those without events the mean weights."""
    ranker.lora.eval()
    if pairs.inputs is not None:
        ranker.prior = _mean_weights(ranker, pairs)


def diagnose(ranker: Ranker, rows: JudgedRows) -> Mapping[str, Any]:
    """How gates and experts ended up, over rows of different users.

    Returns:
        ``users`` looked at, ``experts``, ``entropy``, ``variance_across_users``, ``largest_load``
        (see :func:`~llmrec.adapters.gates.gate_diagnostics`), ``expert_similarity``, the
        ``bytes_per_user`` that weights in float16 take, and ``warnings``, one sentence for each
        sign of a collapse.
    """
    newest = _one_per_user(rows)
    histories, items = rows.histories.take(newest), rows.items[newest]
    inputs = None if ranker.inputs is None else ranker.inputs.of(ranker.ctr, histories, items)
    weights = ranker.weights_uncounted(inputs, np.maximum(histories.lengths, 1))
    similarity = expert_similarity(ranker.lora.experts())
    gates = gate_diagnostics(weights, ranker.lora.config_lora.gate_activation)
    entropy, variance = gates["entropy"], gates["variance_across_users"]
    return {
        "users": len(newest),
        "experts": ranker.lora.config_lora.blocks,
        **gates,
        "expert_similarity": similarity,
        "bytes_per_user": 2 * ranker.prior.size,
        "warnings": collapse_warnings(ranker.lora.config_lora, entropy, variance, similarity),
    }


def _passes(training: TrainingConfig, rows: int) -> int:
    """Forward passes of a whole training in one process."""
    steps = max(1, math.ceil(rows / training.batch_size))
    return training.epochs * steps * training.accumulation


def _mean_weights(ranker: Ranker, pairs: Pairs) -> Any:
    """Mean of the gates' own weights over the rows that have events."""
    assert pairs.inputs is not None
    filled = np.flatnonzero(pairs.lengths)
    rows = filled if filled.size else np.arange(len(pairs.lengths))
    return ranker.own_weights(pairs.inputs[rows]).mean(0).numpy().copy()


def _one_per_user(rows: JudgedRows) -> Any:
    """The newest row of every user."""
    users = rows.histories.user_ids.rank("dense").to_numpy() - 1
    newest = np.zeros(int(users.max()) + 1, dtype=np.int64)
    np.maximum.at(newest, users, np.arange(len(rows)))
    return newest
