"""From judged lists to pairs: per prompt the best and the worst, with reference log-probabilities.

A pair is kept only if its rewards differ: lists that are judged alike teach nothing and pull the
likelihood of both down. What is dropped is counted. The table has the columns of TRL's preference
data (``prompt, chosen, rejected, ref_chosen_logps, ref_rejected_logps``; lists of item codes), then
the rewards, the towers' probabilities of both lists, and the versions of policy and reward model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError, DataError
from llmrec.recommenders.onerec.alignment.reward import RewardModel, padded_histories
from llmrec.recommenders.onerec.alignment.rollouts import Lists
from llmrec.recommenders.onerec.writer import Writer, read_histories
from llmrec.storage import atomic_file

FloatArray = npt.NDArray[np.float32]
_PAIRS_AT_ONCE, _LISTS_AT_ONCE = 256, 4096
_ABOUT = "llmrec"  # key of the table's metadata


@dataclass(frozen=True, eq=False)
class Judgements:
    """What a reward model makes of lists.

    Attributes:
        rewards: ``[n, N]`` float32; -inf where there is no list.
        towers: ``[n, N, towers]`` float32 probabilities.
    """

    rewards: FloatArray
    towers: FloatArray


@torch.inference_mode()
def judge_lists(reward: RewardModel, histories: Histories, lists: Lists) -> Judgements:
    """Rewards of all lists.

    Args:
        reward: In evaluation mode.
        histories: ``[n]`` the prompts.
        lists: Their lists.

    Raises:
        DataError: A reward is no finite number; the sentence names user and list.
    """
    n, per_prompt, m = lists.items.shape
    towers = np.zeros((n, per_prompt, len(reward.config.towers)), dtype=np.float32)
    rewards = np.zeros((n, per_prompt), dtype=np.float32)
    at_once = max(1, _LISTS_AT_ONCE // per_prompt)
    device = reward.base_rates.device
    for start in range(0, n, at_once):
        rows = slice(start, min(start + at_once, n))
        read = padded_histories(reward, histories.block(rows.start, rows.stop))
        read = read.repeat_interleave(per_prompt, 0)
        written = torch.from_numpy(lists.items[rows].reshape(-1, m).astype(np.int64)).to(device)
        found = reward.probabilities(read, written)
        towers[rows] = found.view(-1, per_prompt, found.shape[1]).cpu().numpy()
        rewards[rows] = reward.aggregate(found).view(-1, per_prompt).cpu().numpy()
    there = lists.log_probabilities > -np.inf
    bad = np.argwhere(~np.isfinite(rewards) & there)
    if bad.size:
        user = histories.user_ids[int(bad[0, 0])]
        raise DataError(
            f"the reward model gives no finite number for {len(bad)} lists, the first is list "
            f"{bad[0, 1]} of user {user!r}; its weights are damaged or its training diverged: "
            "train it again."
        )
    return Judgements(np.where(there, rewards, -np.inf).astype(np.float32), towers)


@dataclass(frozen=True, eq=False)
class Picked:
    """Which lists of which prompts make a pair.

    Attributes:
        prompts: ``[pairs]`` int64.
        chosen: ``[pairs]`` int64 number of the preferred list.
        rejected: ``[pairs]`` int64 number of the other.
        counts: Prompts, pairs, and how many were dropped for which reason.
    """

    prompts: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]
    counts: Mapping[str, int]


def pick_pairs(
    rewards: FloatArray, min_gap: float, pick: Literal["reward", "random"] = "reward", seed: int = 0
) -> Picked:
    """The best and the worst list of every prompt where they differ.

    Args:
        rewards: ``[n, N]``, -inf where there is no list.
        min_gap: Pairs whose rewards differ by no more are dropped.
        pick: ``random`` draws both lists of the same prompts instead.
        seed: Of the random draw.

    Raises:
        DataError: A reward is NaN or infinite.

    >>> picked = pick_pairs(np.array([[1, 3, 2], [5, 5, 5]], dtype=np.float32), 0.1)
    >>> picked.chosen, picked.rejected, picked.counts["all_equal"]
    (array([1]), array([0]), 1)
    """
    there = rewards != -np.inf
    if (bad := np.argwhere(~np.isfinite(rewards) & there)).size:
        row, number = bad[0].tolist()
        raise DataError(
            f"the reward of list {number} of prompt {row} is {rewards[row, number]}; expected a "
            "finite number, or -inf where there is no list."
        )
    best, worst = rewards.argmax(1), np.where(there, rewards, np.inf).argmin(1)
    rows = np.arange(len(rewards))
    single = there.sum(1) < 2
    gap = np.where(single, 0.0, rewards[rows, best] - np.where(there, rewards, np.inf).min(1))
    equal = ~single & (gap == 0)
    tiny = ~single & ~equal & (gap <= min_gap)
    kept = np.flatnonzero(~(single | equal | tiny))
    if pick == "random":
        order = np.random.default_rng(seed).random(rewards.shape)
        order[~there] = -1
        drawn = np.argsort(-order, axis=1)
        best, worst = drawn[:, 0], drawn[:, 1]
    counts = {
        "prompts": len(rewards),
        "pairs": kept.size,
        "all_equal": int(equal.sum()),
        "tiny_gap": int(tiny.sum()),
        "fewer_than_two_lists": int(single.sum()),
    }
    return Picked(kept, best[kept], worst[kept], counts)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of lists of equal length.

    Attributes:
        frame: One row per pair; see the module for the columns.
        policy: Version of the weights that gave the reference log-probabilities.
        reward: Version of the reward model.
        counts: See :class:`Picked`.
    """

    frame: pl.DataFrame
    policy: str
    reward: str
    counts: Mapping[str, int]

    def save(self, path: str | Path) -> None:
        """Write the table."""
        about = {"policy": self.policy, "reward": self.reward, "counts": dict(self.counts)}
        with atomic_file(path) as temporary:
            self.frame.write_parquet(temporary, metadata={_ABOUT: json.dumps(about)})

    @classmethod
    def load(
        cls, path: str | Path, policy: str | None = None, reward: str | None = None
    ) -> "Pairs":
        """Read a table.

        Args:
            path: The file.
            policy: The version that its reference must be; None takes any.
            reward: The version that its reward model must be; None takes any.

        Raises:
            ArtifactError: It is no table of pairs, or of other versions.
        """
        try:
            about = json.loads(pl.read_parquet_metadata(path).get(_ABOUT, "null"))
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ArtifactError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from None
        if about is None:
            raise ArtifactError(f"{path} is not a table of pairs that llmrec wrote.")
        for name, wanted in (("policy", policy), ("reward", reward)):
            if wanted is not None and about[name] != wanted:
                raise ArtifactError(
                    f"{path} was made with {name} {about[name]}, but the {name} now is {wanted}; "
                    "references are never mixed: remove the file to make it again."
                )
        return cls(frame, about["policy"], about["reward"], about["counts"])


def make_pairs(
    prompts: Histories,
    lists: Lists,
    judged: Judgements,
    picked: Picked,
    reference: Writer,
    reward: RewardModel,
    versions: tuple[str, str],
) -> Pairs:
    """The table of pairs; it has no rows where none were picked.

    Args:
        prompts: Histories.
        lists: What was written for them.
        judged: What the reward model made of it.
        picked: Which lists make pairs.
        reference: Gives the reference log-probabilities; in evaluation mode.
        reward: Names the towers.
        versions: Of reference and reward model.

    Raises:
        DataError: Lists of a pair hold unequal numbers of items.
    """
    rows = picked.prompts
    histories = prompts.take(rows)
    sides = {"chosen": picked.chosen, "rejected": picked.rejected}
    items = {side: lists.items[rows, number] for side, number in sides.items()}
    sizes = [(codes > 0).sum(1) for codes in items.values()]
    if (unlike := np.flatnonzero(sizes[0] != sizes[1])).size:
        raise DataError(
            f"pair {unlike[0]} of user {histories.user_ids[int(unlike[0])]!r} holds lists of "
            f"{sizes[0][unlike[0]]} and {sizes[1][unlike[0]]} items; their sums cannot be compared."
        )
    columns: dict[str, pl.Series] = {
        "user_id": histories.user_ids,
        "prompt": _item_lists(histories),
    }
    m = lists.items.shape[2]
    for side, codes in items.items():
        columns[side] = pl.Series(codes, dtype=pl.Array(pl.Int32, m))
    for side, codes in items.items():
        found = reference_log_probabilities(reference, histories, codes)
        columns[f"ref_{side}_logps"] = pl.Series(found)
    for side, number in sides.items():
        columns[f"{side}_reward"] = pl.Series(judged.rewards[rows, number])
        for tower, name in enumerate(reward.config.towers):
            columns[f"{side}_{name}"] = pl.Series(judged.towers[rows, number, tower])
    frame = pl.DataFrame(columns).with_columns(
        policy=pl.lit(versions[0]),
        reward=pl.lit(versions[1]),
        aggregation=pl.lit(reward.config.aggregation),
    )
    return Pairs(frame, *versions, picked.counts)


def _item_lists(histories: Histories) -> pl.Series:
    """One list of item codes per history."""
    rows = np.split(histories.items, histories.offsets[1:-1]) if len(histories) else []
    return pl.Series(rows, dtype=pl.List(pl.Int32))


@torch.no_grad()
def reference_log_probabilities(
    writer: Writer, histories: Histories, lists: npt.NDArray[np.int32]
) -> FloatArray:
    """``[n]`` float32 log-probabilities of lists ``[n, m]``; dropout is off in evaluation mode."""
    writer.network.eval()
    found = np.empty(len(lists), dtype=np.float32)
    device = writer.codes.device
    for start in range(0, len(lists), _PAIRS_AT_ONCE):
        rows = slice(start, min(start + _PAIRS_AT_ONCE, len(lists)))
        read = read_histories(writer, histories.block(rows.start, rows.stop), lists.shape[1])
        written = torch.from_numpy(lists[rows].astype(np.int64)).to(device)
        found[rows] = writer.list_log_probabilities(read, written).cpu().numpy()
    return found
