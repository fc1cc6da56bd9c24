"""Training a reward model on logged sessions, and what it is worth on users it has not seen.

Users, not sessions, are divided: the figures are those of histories nobody has trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.data.splits import Split
from llmrec.evaluation.metrics.pairs import auc, ece
from llmrec.recommenders.onerec.alignment.feedback import (
    FeedbackRows,
    TowerRule,
    session_labels,
    single_items,
    users_of,
)
from llmrec.recommenders.onerec.alignment.reward import RewardConfig, RewardModel
from llmrec.recommenders.onerec.generator.sessions import SessionRule, SessionSpans, session_spans
from llmrec.training.config import TrainingConfig
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer

_HELD_OUT = 5  # every fifth user
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Judged:
    """A trained reward model and its figures.

    Attributes:
        model: In evaluation mode.
        figures: Per tower ``auc``, ``ece``, ``base_rate`` and ``n`` on held-out users.
        log: Rows of the training loop.
    """

    model: RewardModel
    figures: Mapping[str, Mapping[str, float]]
    log: Sequence[Mapping[str, Any]]


def train_reward_model(
    split: Split,
    rules: Sequence[TowerRule],
    training: TrainingConfig,
    sessions: SessionRule | None = None,
    most: int = 10,
    **architecture: Any,
) -> Judged:
    """Learn what users make of sessions.

    Args:
        split: The training part of it is read.
        rules: One tower each.
        training: Settings of the loop; ``metric`` is set to the mean AUC of the towers.
        sessions: What a session is.
        most: Most items of a session.
        architecture: Further fields of :class:`RewardConfig`.

    Raises:
        DataError: A column is missing, a label is constant, or there is no session.
    """
    train = split.train_histories()
    config = RewardConfig(towers=tuple(rule.name for rule in rules), session=most, **architecture)
    whole = session_spans(train, sessions or SessionRule(), most)
    spans = _joined(whole, single_items(whole))
    labels = session_labels(split, spans, rules)
    held_out = users_of(train, spans) % _HELD_OUT == 0
    learnt, judged = _rows(train, spans, labels, ~held_out), _rows(train, spans, labels, held_out)
    seed_everything(training.seed)
    model = RewardModel(config, len(train.vocabulary), labels[~held_out].mean(0).tolist())
    source, rest = (FeedbackRows(train, *rows, config.history) for rows in (learnt, judged))

    def validate() -> Mapping[str, float]:
        figures = tower_figures(model, rest, judged[1])
        return {"auc": float(np.mean([each["auc"] for each in figures.values()]))}

    settings = training.model_copy(update={"metric": "auc"})
    log = Trainer(settings, model_settings=config.model_dump(mode="json")).fit(
        model, source, validate
    )
    model.eval()
    return Judged(model, tower_figures(model, rest, judged[1]), log)


@torch.inference_mode()
def tower_figures(
    model: RewardModel, rows: FeedbackRows, labels: npt.NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """AUC, calibration error and base rate of every tower."""
    model.eval()
    rng = np.random.default_rng(0)
    parts = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        batch = rows.batch(np.arange(start, min(start + _ROWS_AT_ONCE, len(rows))), rng)
        batch = batch.to(model.base_rates.device)
        parts.append(model.logits(batch.history, batch.session).sigmoid().cpu().numpy())
    found = np.concatenate(parts)
    return {
        name: {
            "auc": auc(labels[:, tower], found[:, tower]),
            "ece": ece(labels[:, tower], found[:, tower]),
            "base_rate": float(labels[:, tower].mean()),
            "n": float(len(labels)),
        }
        for tower, name in enumerate(model.config.towers)
    }


def _joined(left: SessionSpans, right: SessionSpans) -> SessionSpans:
    return SessionSpans(*(np.concatenate(pair) for pair in zip(left, right, strict=True)))


def _rows(
    train: Histories,
    spans: SessionSpans,
    labels: npt.NDArray[np.float32],
    kept: npt.NDArray[np.bool_],
) -> tuple[SessionSpans, npt.NDArray[np.float32]]:
    return SessionSpans(*(values[kept] for values in spans)), labels[kept]
