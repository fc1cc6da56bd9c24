"""What is watched while a policy is aligned, on validation users: is it better, and still sound?

Nothing here chooses anything. Rewards are those of the reward model that also picked the pairs, so
they say what was optimised, not what is true.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.errors import DataError
from llmrec.recommenders.onerec.alignment.pairs import judge_lists, reference_log_probabilities
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.rollouts import Lists, written_lists
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import Writer, read_histories

_USERS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Watch:
    """Who is watched, and with what.

    Attributes:
        histories: Of the watched users.
        trie: The semantic IDs.
        reward: In evaluation mode.
        lists: Lists per user, the beams of the search.
        items: Items per list.
    """

    histories: Histories
    trie: Trie
    reward: RewardModel
    lists: int
    items: int

    def figures(self, policy: Writer, reference: Writer | None = None) -> dict[str, float]:
        """Means over the watched users.

        Args:
            policy: In evaluation mode.
            reference: The policy before, for the divergence from it.

        Returns:
            ``reward`` of the most probable list, ``reward_mean`` and ``reward_max`` over the lists
            of the beam, ``legality`` of the served lists, ``free_legality`` of first items decoded
            without the trie (only where codes that do not exist compete in training),
            ``list_diversity`` and, with a reference, ``kl``. Who has had so much that no list is
            left does not count.

        Raises:
            DataError: Nobody has a list.
        """
        found = written_lists(policy, self.trie, self.histories, self.lists, self.items)
        rewards = judge_lists(self.reward, self.histories, found).rewards
        there = found.log_probabilities > -np.inf
        served, some = found.items[:, 0], there[:, 0]
        if not some.any():
            raise DataError(
                f"no list of {self.items} items was found for any of the {len(there)} validation "
                "users that are watched; raise beam, lower the session, or watch more users."
            )
        means = np.where(there, rewards, 0).sum(1)[some] / there.sum(1)[some]
        figures = {
            "reward": float(rewards[some, 0].mean()),
            "reward_mean": float(means.mean()),
            "reward_max": float(rewards[some].max(1).mean()),
            "legality": float(legal_lists(served, self.histories, self.trie)[some].mean()),
            "list_diversity": list_diversity(served[some], policy.codes[:, 0].cpu().numpy()),
        }
        if not policy.knows_what_exists:
            figures["free_legality"] = free_legality(policy, self.trie, self.histories, self.items)
        if reference is not None:
            figures["kl"] = self._divergence(found, reference)
        return figures

    def _divergence(self, found: Lists, reference: Writer) -> float:
        """Mean KL divergence from the reference over the lists of the beam, both renormalised."""
        n, lists, m = found.items.shape
        repeated = self.histories.take(np.repeat(np.arange(n), lists))
        flat = found.items.reshape(-1, m)
        there = found.log_probabilities > -np.inf
        before = np.full(n * lists, -np.inf, dtype=np.float32)
        rows = np.flatnonzero(there.ravel())
        before[rows] = reference_log_probabilities(reference, repeated.take(rows), flat[rows])
        now, then = (
            torch.from_numpy(values.reshape(n, lists)).double().log_softmax(1)
            for values in (found.log_probabilities, before)
        )
        gained = torch.where(torch.from_numpy(there), now - then, 0.0)
        return float((now.exp() * gained).nansum(1).mean())


def legal_lists(
    lists: npt.NDArray[np.int32], histories: Histories, trie: Trie
) -> npt.NDArray[np.bool_]:
    """``[n]``: whether all items of a list exist, were not seen, and differ from each other."""
    n = len(lists)
    exists = (lists >= 1) & (lists <= trie.n_items)
    exists &= trie.item_leaves[np.clip(lists, 1, trie.n_items) - 1] >= 0
    ordered = np.sort(lists, axis=1)
    differ = (np.diff(ordered, axis=1) != 0).all(1)
    stride = trie.n_items + 1
    seen = np.repeat(np.arange(n), histories.lengths) * stride + histories.items
    unseen = ~np.isin(np.arange(n)[:, None] * stride + lists, seen)
    return np.asarray(exists.all(1) & differ & unseen.all(1))


@torch.inference_mode()
def free_legality(writer: Writer, trie: Trie, histories: Histories, items: int) -> float:
    """Share of lists whose first item exists where every code is chosen without the trie.

    What is served is always legal. This says how well the policy knows which IDs there are; it
    falls when alignment pushes probability to where there is nothing. Only first items are looked
    at: what does not exist cannot be read to go on. A policy with ``choices: existing`` never
    learns that what does not exist is improbable, so of it this says nothing.
    """
    steps = writer.steps()
    there = torch.from_numpy(trie.item_leaves >= 0).to(writer.codes.device)
    known = _keys(writer.codes[1:][there], writer.sizes)
    legal = 0
    for start in range(0, len(histories), _USERS_AT_ONCE):
        block = histories.block(start, min(start + _USERS_AT_ONCE, len(histories)))
        with writer.writing(items):
            history = read_histories(writer, block, items)
            written = _greedy_item(steps, history, len(writer.sizes))
        legal += int(torch.isin(_keys(written, writer.sizes), known).sum())
    return legal / max(len(histories), 1)


def _greedy_item(steps: Any, history: torch.Tensor, levels: int) -> torch.Tensor:
    """``[users, levels]`` the most probable code of every level, one after another."""
    state, codes, parents = steps.begin(history), None, None
    written = []
    for level in range(levels):
        codes = steps.step(state, level, codes, parents).logits.argmax(-1)
        parents = torch.zeros_like(codes)
        written.append(codes)
    return torch.cat(written, dim=1)


def list_diversity(lists: npt.NDArray[np.int32], first_codes: npt.NDArray[np.int64]) -> float:
    """Mean share of the pairs in a list whose items differ in the first code of their IDs.

    Args:
        lists: ``[n, m]`` item codes.
        first_codes: ``[items + 1]`` by item code.
    """
    codes = first_codes[lists]
    m = codes.shape[1]
    if m < 2:
        return math.nan
    differ = codes[:, :, None] != codes[:, None, :]
    return float(differ.sum((1, 2)).mean() / (m * (m - 1)))


def guarded(
    figures: Mapping[str, float], metric: str, floor: float, least_reward: float = 0.0
) -> float:
    """What chooses weights: the reward while the metric holds, else less than any reward.

    Args:
        figures: With ``reward`` and the metric, which is between 0 and 1.
        metric: Its name.
        floor: What it must not fall below.
        least_reward: A number that no reward is below.

    >>> guarded({"reward": 1.2, "ndcg@10": 0.05}, "ndcg@10", 0.04)
    1.2
    >>> guarded({"reward": 9.0, "ndcg@10": 0.03}, "ndcg@10", 0.04) < 0
    True
    """
    if holds(figures, metric, floor):
        return figures["reward"]
    return least_reward + figures[metric] - 1.0


def holds(figures: Mapping[str, float], metric: str, floor: float) -> bool:
    """Whether the metric has not fallen below its floor."""
    return figures[metric] >= floor


def _keys(codes: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
    """One number per row of codes."""
    keys = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
    for level, size in enumerate(sizes):
        keys = keys * size + codes[:, level]
    return keys
