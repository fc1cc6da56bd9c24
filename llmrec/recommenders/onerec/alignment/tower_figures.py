"""What the towers of a reward model are worth on sessions it has not learnt from."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.evaluation.metrics.pairs import auc, ece
from llmrec.recommenders.onerec.alignment.feedback import FeedbackRows
from llmrec.recommenders.onerec.alignment.reward import RewardModel

_ROWS_AT_ONCE = 1024


@torch.inference_mode()
def tower_figures(model: RewardModel, rows: FeedbackRows) -> dict[str, dict[str, float]]:
    """Figures of every tower.

    Args:
        model: The reward model; it is left in evaluation mode.
        rows: Sessions with labels.

    Returns:
        Tower name to ``auc`` (of labels above their mean, which for labels of 0 and 1 are those of
        1), ``ece``, ``base_rate``, ``n`` and ``above_random``: how often such a session, or item,
        has a higher probability than one of random items in the same place after the same history;
        equal ones count half. A judge of what was logged may know nothing of other lists.
    """
    model.eval()
    probabilities, labels, random = _judged(model, rows)
    there = ~np.isnan(labels).any(1)
    probabilities, labels, random = probabilities[there], labels[there], random[there]
    figures = {}
    for tower, name in enumerate(model.config.towers):
        label, found = labels[:, tower], probabilities[:, tower]
        good = label > label.mean()
        ahead = found[good] - random[good, tower]
        figures[name] = {
            "auc": auc(good, found),
            "ece": ece(label, found),
            "base_rate": float(label.mean()),
            "above_random": float(np.mean((ahead > 0) + (ahead == 0) / 2)),
            "n": float(len(label)),
        }
    return figures


def _judged(model: RewardModel, rows: FeedbackRows) -> tuple[npt.NDArray[np.float32], ...]:
    """``[labels, towers]`` probabilities, labels, and probabilities of random items instead."""
    rng, towers = np.random.default_rng(0), len(model.config.towers)
    found, known, random = [], [], []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        batch = rows.batch(np.arange(start, min(start + _ROWS_AT_ONCE, len(rows))), rng)
        known.append(batch.labels.view(-1, towers).numpy())
        others = torch.from_numpy(rng.integers(1, rows.n_items + 1, tuple(batch.session.shape)))
        others = others * (batch.session > 0)
        batch = batch.to(model.base_rates.device)
        found.append(_probabilities(model, batch.history, batch.session))
        random.append(_probabilities(model, batch.history, others.to(batch.session)))
    return np.concatenate(found), np.concatenate(known), np.concatenate(random)


def _probabilities(model: RewardModel, history: Tensor, session: Tensor) -> npt.NDArray[np.float32]:
    towers = len(model.config.towers)
    found: npt.NDArray[np.float32]
    found = model.logits(history, session).sigmoid().view(-1, towers).cpu().numpy()
    return found
