"""The lists of one model under everyone who has a say about them, for ``onerec_sessions.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from llmrec.data.histories import Histories
from llmrec.data.splits import Split
from llmrec.errors import ConfigError
from llmrec.evaluation.tasks import Task
from llmrec.recommenders.onerec.alignment.composing import composed_lists
from llmrec.recommenders.onerec.alignment.config import RewardSettings
from llmrec.recommenders.onerec.alignment.feedback import session_labels, single_items
from llmrec.recommenders.onerec.alignment.pairs import judge_lists
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.rollouts import Lists, written_lists
from llmrec.recommenders.onerec.alignment.watching import legal_lists
from llmrec.recommenders.onerec.generator.sessions import session_spans
from llmrec.recommenders.onerec.list_recommender import ListRecommender
from llmrec.runs.aligning import alignment_of
from llmrec.runs.directory import RunDirectory
from llmrec.runs.session_truth import SessionTruth
from llmrec.storage import read_json, write_json

TRUE = "true_reward"
CURVE = (TRUE, "model_reward", "second_judge", "diversity")
_AVERAGE_EVENTS = 5.0
POSSIBLE, AGREEMENT = "possible", "rank_correlation"

Asked = Literal["valid", "test"]
Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
PerUser = dict[str, dict[str, Values]]  # system -> figure -> [users]
Curve = dict[int, dict[str, float]]  # number of lists -> figure
Curves = dict[str, Curve]  # of every system


@dataclass(frozen=True)
class JudgedRun:
    """What judging one aligned run and the one it started from came to.

    Attributes:
        per_user: Figures per user of all systems.
        curves: Means by number of lists.
        seconds: Time it took.
    """

    per_user: PerUser
    curves: Curves
    seconds: float

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Keep it, so that recording that was killed goes on; ``about`` says of what it is."""
        users = {
            system: {name: values.tolist() for name, values in figures.items()}
            for system, figures in self.per_user.items()
        }
        told = {"about": about, "per_user": users, "curves": self.curves, "seconds": self.seconds}
        write_json(path, told)

    @classmethod
    def load(cls, path: Path, about: Mapping[str, Any]) -> "JudgedRun | None":
        """Read what :meth:`save` wrote; None where there is nothing, or it is of something else."""
        told = read_json(path) if path.is_file() else {"about": None}
        if told["about"] != about:
            return None
        users = {
            system: {name: np.array(values) for name, values in figures.items()}
            for system, figures in told["per_user"].items()
        }
        curves = {
            system: {int(number): figures for number, figures in curve.items()}
            for system, curve in told["curves"].items()
        }
        return cls(users, curves, told["seconds"])


@dataclass(frozen=True)
class Judge:
    """Everyone who has a say about lists."""

    truth: SessionTruth
    models: dict[str, RewardModel]

    def figures(self, lists: Codes, model: ListRecommender[Any]) -> dict[str, Values]:
        """``[users]`` of every figure."""
        histories = self.truth.histories
        written = Lists(lists[:, None], np.zeros((len(lists), 1), dtype=np.float32))
        found = {TRUE: self.truth.values(lists), "diversity": self.truth.diversity(lists)}
        for name, reward in self.models.items():
            rewards = judge_lists(reward, histories, written).rewards[:, 0]
            found[name] = rewards.astype(np.float64)
        legal = legal_lists(lists, histories, model.trie)
        return {**found, "legality": legal.astype(np.float64)}


def judged_lists(
    judge: Judge,
    model: ListRecommender[Any],
    reward: RewardModel,
    number: int,
    curve: Sequence[int],
    pool: int,
) -> tuple[PerUser, Curve]:
    """What one model writes.

    Args:
        judge: Judges it.
        model: Writes the lists.
        reward: Chooses among them.
        number: Lists among which it chooses.
        curve: Numbers of lists for the curve.
        pool: Next items of which it puts a list together; 0 for no such list.

    Returns:
        Figures per user by what is put behind the system's name, and by number of lists those of
        the one chosen, with the true reward of the truly best (``possible``) and, over the lists
        of a user, the rank correlation of reward and truth.
    """
    m, histories = model.longest_session, judge.truth.histories
    lists = written_lists(model.writer, model.trie, histories, model.config.beam, m)
    rewards = judge_lists(reward, histories, lists).rewards
    true = np.stack([judge.truth.values(codes) for codes in lists.items.swapaxes(0, 1)], axis=1)
    chosen = {n: best_of(lists, rewards, n) for n in {1, number, *curve}}
    judged = {n: judge.figures(codes, model) for n, codes in chosen.items()}
    found = {"": judged[1], f", best of {number}": judged[number]}
    found[", next items together"] = judge.figures(next_items(model, judge.truth, m), model)
    if pool:
        composed = composed_lists(model.writer, model.trie, reward, histories, pool, m)
        name = f", {pool} next items, the {m} best together by reward"
        found[name] = judge.figures(composed.items[:, 0], model)
    curves = {n: means(judged[n], CURVE) for n in curve}
    for n, figures in curves.items():
        figures[POSSIBLE] = round(float(true[:, :n].max(1).mean()), 4)
        if n > 1:
            agreed = rank_correlations(rewards[:, :n], true[:, :n])
            figures[AGREEMENT] = round(float(np.nanmean(agreed)), 4)
    return found, curves


def control_figures(
    truth: SessionTruth, split: Split, model: ListRecommender[Any]
) -> dict[str, Values]:
    """Truth about lists of :func:`most_valued`, for the feedback that a model was aligned with."""
    m = model.longest_session
    lists = most_valued(split, alignment_of(model).reward, truth.histories, m)
    legal = legal_lists(lists, truth.histories, model.trie).astype(np.float64)
    return {TRUE: truth.values(lists), "diversity": truth.diversity(lists), "legality": legal}


def most_valued(split: Split, settings: RewardSettings, histories: Histories, m: int) -> Codes:
    """``[users, m]``: a control that knows no user, the items valued most by all who had them.

    The worth of an event is the weighted sum of its towers' labels over their means; an item's is
    the mean of its training events and of five average ones. Each user gets the first unseen ones.
    """
    train = split.train_histories()
    events = single_items(session_spans(train, settings.sessions, settings.most))
    labels = session_labels(split, events, settings.towers).astype(np.float64)
    worth = labels / labels.mean(0) @ np.array(settings.weights or (1.0,) * labels.shape[1])
    items, size = train.items[events.start], len(train.vocabulary) + 1
    counts, sums = np.bincount(items, minlength=size), np.bincount(items, worth, minlength=size)
    mean = (sums + _AVERAGE_EVENTS * worth.mean()) / (counts + _AVERAGE_EVENTS)
    ordered = np.argsort(-mean[1:], kind="stable") + 1
    lists = [ordered[~np.isin(ordered, histories[row])][:m] for row in range(len(histories))]
    return np.array(lists, dtype=np.int32)


def rank_correlations(one: npt.ArrayLike, other: npt.ArrayLike) -> Values:
    """Spearman's of every row of two tables ``[n, lists]``; NaN where one is constant."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [each - each.mean(1, keepdims=True) for each in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    with np.errstate(invalid="ignore"):
        return np.asarray((centred[0] * centred[1]).sum(1) / spread)


def means(figures: dict[str, Values], names: tuple[str, ...]) -> dict[str, float]:
    """Means over users, as they are written."""
    return {name: round(float(figures[name].mean()), 4) for name in names}


def best_of(lists: Lists, rewards: npt.NDArray[np.float32], number: int) -> Codes:
    """``[users, m]``: of the ``number`` most probable lists the one with the highest reward."""
    chosen = rewards[:, :number].argmax(1)
    return np.asarray(lists.items[np.arange(len(chosen)), chosen])


def next_items(model: ListRecommender[Any], truth: SessionTruth, m: int) -> Codes:
    """The ``m`` most probable next items of every user, put together as a list."""
    frame = model.recommend(truth.histories, k=m)
    codes = model.vocabulary.encode(frame["item_id"])
    return np.asarray(codes, dtype=np.int32).reshape(len(truth.histories), m)


def model_of(path: Path) -> ListRecommender[Any]:
    """The model of a run."""
    model: Any = RunDirectory(path).model()
    assert isinstance(model, ListRecommender)
    return model


def truth_of(split: Split, task: Task, part: Asked) -> SessionTruth:
    """What sessions are truly worth.

    Raises:
        ConfigError: The task is not of a simulation.
    """
    truth = SessionTruth.of(split, part)
    if truth is None:
        raise ConfigError(f"{task.dataset} is not simulated: what sessions are worth is unknown.")
    return truth
