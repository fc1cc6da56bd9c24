"""What alignment changes, told by titles: the same users' lists at every stage."""

from typing import Any

import numpy as np
import polars as pl

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.alignment.pairs import judge_lists
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.rollouts import Lists
from llmrec.recommenders.onerec.list_recommender import ListRecommender

_SHOWN, _NEWEST = 8, 6


class ExampleSessions:
    """Sessions of a few users at several stages.

    Args:
        histories: Of all users; the same few are drawn every time.
        titles: A readable name of every item, or None to tell ids.
        reward: Judges every session.
    """

    def __init__(self, histories: Histories, titles: pl.Series | None, reward: RewardModel) -> None:
        drawn = np.random.default_rng(0).permutation(len(histories))[:_SHOWN]
        self._histories, self._reward = histories.take(np.sort(drawn)), reward
        names = titles if titles is not None else histories.vocabulary.ids.cast(pl.String)
        self._names = names.to_list()
        self.told: list[dict[str, Any]] = [
            {"user": str(user), "newest": self._told(self._histories[row][-_NEWEST:]), "lists": []}
            for row, user in enumerate(self._histories.user_ids.to_list())
        ]

    def add(self, stage: str, model: ListRecommender[Any]) -> None:
        """Write the sessions of a stage, as the model serves them now."""
        codes, scores = model.session_codes(self._histories)
        lists = Lists(codes[:, None], scores[:, None])
        rewards = judge_lists(self._reward, self._histories, lists).rewards[:, 0]
        for row, told in enumerate(self.told):
            if scores[row] > -np.inf:
                reward = round(float(rewards[row]), 4)
                items = self._told(codes[row])
                told["lists"].append({"stage": stage, "items": items, "reward": reward})

    def _told(self, codes: Any) -> list[str]:
        return [str(self._names[code - 1]) for code in codes.tolist() if code]
