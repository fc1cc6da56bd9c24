"""What recommenders share that write lists of semantic IDs: sessions, judges and alignment.

A list is written as one; a reward model may choose among the most probable ones. Preferences are
learnt by :mod:`llmrec.recommenders.onerec.alignment`, which knows of a recommender what is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.data.histories import Histories
from llmrec.errors import ConfigError
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.candidates import allowed_items, recommendation_frame
from llmrec.recommenders.onerec.alignment.beforehand import require_reward_model
from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.reward_forms import loaded_reward_model
from llmrec.recommenders.onerec.cold_items import Int32Array
from llmrec.recommenders.onerec.config import GenerativeConfig
from llmrec.recommenders.onerec.generative import GenerativeRecommender, default_device
from llmrec.recommenders.onerec.serving import (
    Judge,
    search,
    served_lists,
    session_length,
    session_trie,
)
from llmrec.training.batches import BatchSource

if TYPE_CHECKING:
    from llmrec.contracts import Candidates, OnUnknown, Users

ConfigT = TypeVar("ConfigT", bound=GenerativeConfig)
_REWARD = "reward."  # in the saved state, before the names of the reward model's weights


class ListRecommender(GenerativeRecommender[ConfigT]):
    """A recommender that writes lists; see :class:`GenerativeRecommender` for the arguments.

    Attributes:
        reward_model: What chooses among sessions, or None.
        alignment: What an alignment came to, as JSON values, or None.
    """

    reward_model: RewardModel | None = None
    alignment: dict[str, Any] | None = None

    @property
    @abstractmethod
    def longest_session(self) -> int:
        """Most items of a list."""

    @abstractmethod
    def training_rows(self, train: Histories) -> BatchSource:
        """The rows of supervised training that the settings make of histories."""

    def use_reward_model(self, reward: RewardModel, about: Mapping[str, Any] | None = None) -> Self:
        """Choose sessions with a reward model; it is saved with the model.

        Args:
            reward: Trained on the items of this model.
            about: What is worth knowing about it, as JSON values, such as its figures.

        Raises:
            ConfigError: It was trained on other items, or judges shorter lists.
        """
        require_reward_model(reward, self.vocabulary, self.longest_session)
        self.reward_model = reward.to(default_device()).eval()
        self.details["reward"] = {"model": reward.config.model_dump(mode="json"), **(about or {})}
        return self

    def reports(self) -> Mapping[str, Mapping[str, Any]]:
        """See the base class; an aligned model tells of its alignment."""
        return {} if self.alignment is None else {"alignment": self.alignment}

    def recommend_session(
        self,
        users: Users,
        m: int | None = None,
        exclude_seen: bool = True,
        on_unknown: OnUnknown = "error",
        best_of: int | None = None,
        candidates: Candidates | None = None,
    ) -> pl.DataFrame:
        """Write a session for every user: the most probable one, or the best of several.

        Args:
            users: Ids of known users, or :class:`Histories` of anyone.
            m: Items of the session; None takes the length the model was trained for.
            exclude_seen: Leave out the items of the user's history.
            on_unknown: As for :meth:`recommend`.
            best_of: Of so many of the most probable sessions, the reward model takes the one it
                likes best; None is the setting ``best_of`` where there is a reward model, else 1.
            candidates: Item ids to choose from, for everybody; None means the whole catalog.

        Returns:
            A frame ``user_id, item_id, score, rank``: rank is the place in the session from 1,
            score the log-probability of the whole session. Who has had nearly everything, so that
            no session is left, is not in it.

        Raises:
            ConfigError: ``m`` is below 1 or above what the model was trained for, ``best_of`` is
                below 1 or above ``beam``, one of them is no whole number, a reward model is asked
                for that is not there, or there are fewer candidates than items of a session.
            UnknownIdError: A candidate is unknown and ``on_unknown`` is ``"error"``.
        """
        histories = self._histories_of(users, on_unknown)
        allowed = None
        if candidates is not None:
            allowed = allowed_items(candidates, self.vocabulary, on_unknown)
        codes, scores = self.session_codes(histories, m, exclude_seen, best_of, allowed)
        values = np.repeat(scores[:, None], codes.shape[1], axis=1)
        return recommendation_frame(histories.user_ids, codes, values, self.vocabulary)

    def session_codes(
        self,
        histories: Histories,
        m: int | None = None,
        exclude_seen: bool = True,
        best_of: int | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Int32Array, FloatArray]:
        """As :meth:`recommend_session`, as item codes.

        Args:
            histories: ``[n]`` what users did, in the codes of the model's vocabulary.
            m: See :meth:`recommend_session`, as ``exclude_seen`` and ``best_of``.
            exclude_seen: Likewise.
            best_of: Likewise.
            allowed: ``[items]`` what may be written, column ``j`` for code ``j + 1``; None for all.

        Returns:
            ``[n, m]`` item codes, zeros where no session was found, and ``[n]`` log-probabilities.
        """
        judge = self._judge(best_of)
        m = session_length(m, self.longest_session)
        trie = session_trie(self.trie, m, allowed)
        found = search(self.writer, trie, histories, self.config.beam, m, exclude_seen)
        return served_lists(found, trie, histories, m, exclude_seen, judge)

    def _judge(self, best_of: int | None) -> Judge | None:
        """Who chooses among how many lists, or None for the most probable one."""
        if best_of is None:
            best_of = min(self.config.best_of, self.config.beam) if self.reward_model else 1
        if not (isinstance(best_of, int | np.integer) and 1 <= best_of <= self.config.beam):
            raise ConfigError(
                f"best_of={best_of} must lie between 1 and the {self.config.beam} lists that the "
                "beam finds, and be a whole number; raise beam to choose among more."
            )
        if best_of == 1:
            return None
        if self.reward_model is None:
            raise ConfigError(
                f"best_of={best_of} needs a reward model, which this model lacks: align it with "
                "'llmrec align', or give it one with use_reward_model."
            )
        return Judge(self.reward_model, best_of)

    def _reward_state(self) -> dict[str, npt.NDArray[Any]]:
        """The reward model as a part of the state."""
        if self.reward_model is None:
            return {}
        judge = self.reward_model.state_dict()
        return {_REWARD + name: tensor.cpu().numpy() for name, tensor in judge.items()}

    def _take_reward(self, state: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Read the reward model; returns the rest of the state."""
        judge = {
            name.removeprefix(_REWARD): torch.from_numpy(value)
            for name, value in state.items()
            if name.startswith(_REWARD)
        }
        if judge:
            config = RewardConfig(**self.details["reward"]["model"])
            self.reward_model = loaded_reward_model(config, judge).to(default_device())
        return {name: value for name, value in state.items() if not name.startswith(_REWARD)}
