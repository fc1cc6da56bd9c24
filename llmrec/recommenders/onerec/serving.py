"""From histories to items: searches for many users, and exact scores of given lists."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.alignment.reward import RewardModel, padded_histories
from llmrec.recommenders.onerec.beam import BeamLists, beam_search
from llmrec.recommenders.onerec.limits import Exclusions, Limits
from llmrec.recommenders.onerec.trie import Trie, expand_leaves
from llmrec.recommenders.onerec.writer import Writer, read_histories

FloatArray = npt.NDArray[np.float32]


def search(
    writer: Writer,
    trie: Trie,
    histories: Histories,
    width: int,
    items: int = 1,
    exclude_seen: bool = False,
) -> Iterator[tuple[slice, BeamLists]]:
    """Search for every user, some users at a time.

    Args:
        writer: In evaluation mode.
        trie: The semantic IDs, or those of what may be recommended; see :meth:`Trie.restrict`.
        histories: What users did.
        width: Beams per user.
        items: Items per list.
        exclude_seen: Refuse the items of the whole history.

    Yields:
        Rows of ``histories``, and their lists.
    """
    steps = writer.steps()
    for start in range(0, len(histories), writer.at_once):
        block = histories.block(start, start + writer.at_once)
        limits: Limits | None = None
        if exclude_seen:
            limits = Exclusions.of_items(trie, block.items, block.offsets)
        with writer.writing(items):
            found = beam_search(
                steps,
                steps.begin(read_histories(writer, block, items)),
                trie,
                users=len(block),
                width=width,
                items=items,
                limits=limits,
            )
        yield slice(start, start + len(block)), found


class Judge(NamedTuple):
    """Who chooses among the most probable lists.

    Attributes:
        reward: In evaluation mode.
        best_of: Among how many it chooses.
    """

    reward: RewardModel
    best_of: int


def session_length(m: int | None, longest: int) -> int:
    """Items of a session; None takes the most that a model writes.

    Raises:
        ConfigError: It is no whole number, below 1 or above the most.
    """
    m = longest if m is None else m
    if not (isinstance(m, int | np.integer) and 1 <= m <= longest):
        raise ConfigError(
            f"m={m} must lie between 1 and the {longest} items this model was trained to write, "
            "and be a whole number."
        )
    return m


def session_trie(trie: Trie, m: int, allowed: npt.NDArray[np.bool_] | None) -> Trie:
    """What sessions of ``m`` items are searched in; items of one ID cannot share a session.

    Args:
        trie: All semantic IDs.
        m: Items of a session.
        allowed: ``[items]`` what may be written; None for all.

    Raises:
        ConfigError: Less than a session is allowed.
    """
    if allowed is None:
        return trie
    part = trie.restrict(allowed) if allowed.any() else None
    if part is None or part.n_leaves < m:
        left = 0 if part is None else part.n_leaves
        raise ConfigError(
            f"the candidates leave {left} items with different semantic IDs, too few for a session "
            f"of {m}; give more candidates, or lower m."
        )
    return part


def served_lists(
    found: Iterable[tuple[slice, BeamLists]],
    trie: Trie,
    histories: Histories,
    items: int,
    exclude_seen: bool = True,
    judge: Judge | None = None,
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """One list for every user: the most probable, or the one of them that is judged best.

    Among lists of equal reward the more probable one is served.

    Args:
        found: Rows of the histories, and their lists, as :func:`search` gives them.
        trie: What was searched.
        histories: ``[n]`` what users did.
        items: Items per list.
        exclude_seen: Whether the search refused the items of the whole history.
        judge: Who chooses; None serves the most probable list.

    Returns:
        Item codes ``[n, items]``, zeros where there is no list, and log-probabilities ``[n]``.
    """
    codes = np.zeros((len(histories), items), dtype=np.int32)
    scores = np.full(len(histories), -np.inf, dtype=np.float32)
    for rows, lists in found:
        block = histories.block(rows.start, rows.stop)
        written = (
            unseen_items(trie, lists.leaves, block)
            if exclude_seen
            else first_items(trie, lists.leaves)
        )
        chosen = np.zeros(len(lists.scores), dtype=np.int64)
        if judge is not None:
            chosen = _best_judged(judge, written, block, lists)
        users = np.arange(chosen.size)
        codes[rows] = written[users, chosen]
        scores[rows] = lists.scores.cpu().numpy()[users, chosen]
    return codes, scores


@torch.inference_mode()
def _best_judged(
    judge: Judge, written: npt.NDArray[np.int32], histories: Histories, lists: BeamLists
) -> npt.NDArray[np.int64]:
    """``[n]`` the place of the list with the highest reward, of items ``[n, width, items]``."""
    kept = min(judge.best_of, lists.scores.shape[1])
    items = torch.from_numpy(written[:, :kept].astype(np.int64))
    device = judge.reward.base_rates.device
    read = padded_histories(judge.reward, histories).repeat_interleave(kept, 0)
    found = judge.reward.reward(read, items.flatten(0, 1).to(device)).view(-1, kept).cpu()
    found = found.masked_fill(lists.scores[:, :kept].cpu() == -torch.inf, -torch.inf)
    if found.isnan().any():
        user = histories.user_ids[int(found.isnan().any(1).nonzero()[0])]
        raise DataError(
            f"the reward model gives NaN for a list of user {user!r}; its weights are damaged. "
            "Train it again, or serve with best_of=1."
        )
    # the first of equals is the most probable
    return np.asarray(found.numpy().argmax(1), dtype=np.int64)


def unseen_items(trie: Trie, leaves: Tensor, histories: Histories) -> npt.NDArray[np.int32]:
    """Items of what was found by a search that excludes seen items.

    Of items that share an ID it is the first, or where the user has had that one, the first of the
    others. There is one: an ID whose items were all seen is closed in the search.

    Args:
        trie: The semantic IDs.
        leaves: ``[n, width, items]``, -1 for none.
        histories: ``[n]`` what users did.

    Returns:
        Item codes, ``[n, width, items]``, 0 for none.
    """
    written = first_items(trie, leaves)
    if trie.n_leaves == trie.items.numel():
        return written
    stride = trie.n_items + 1
    seen = row_of_each(histories.offsets) * stride + histories.items
    users = np.arange(len(written))[:, None, None]
    for user, place, item in np.argwhere(np.isin(users * stride + written, seen)):
        alike, _ = expand_leaves(trie, [int(leaves[user, place, item])])
        new = alike[~np.isin(user * stride + alike, seen)]
        written[user, place, item] = new[0]
    return written


def first_items(trie: Trie, leaves: Tensor) -> npt.NDArray[np.int32]:
    """Item codes of leaves, any shape; of items that share an ID the first, 0 for no leaf (-1)."""
    firsts = trie.items[trie.item_offsets[:-1].long()]
    codes = torch.where(leaves >= 0, firsts[leaves.clamp_min(0)], 0)
    return codes.to(torch.int32).cpu().numpy()


@torch.inference_mode()
def candidate_scores(
    writer: Writer, histories: Histories, codes: npt.NDArray[np.int32]
) -> FloatArray:
    """Exact log-probabilities of candidates as the next item.

    Args:
        writer: In evaluation mode.
        histories: ``[n]`` what users did.
        codes: ``[n, C]`` item codes; 0 gets any score.

    Returns:
        ``[n, C]`` float32.
    """
    steps, device = writer.steps(), writer.codes.device
    scores = np.empty(codes.shape, dtype=np.float32)
    for start in range(0, len(histories), writer.at_once):
        block = histories.block(start, start + writer.at_once)
        items = torch.from_numpy(codes[start : start + len(block)].astype(np.int64)).to(device)
        ids = writer.codes[items]  # [n, C, levels]
        state = steps.begin(read_histories(writer, block, 1))
        total = torch.zeros(items.shape, device=device)
        for level in range(ids.shape[2]):
            taken = None if level == 0 else ids[..., level - 1]
            parents = None if level == 0 else _parents(level, items)
            found = steps.step(state, level, taken, parents)
            logits = found.logits.float().expand(*items.shape, -1)
            chosen = logits.gather(2, ids[..., level, None]).squeeze(2)
            total += chosen - found.log_normalizer
        scores[start : start + len(block)] = total.cpu().numpy()
    return scores


def _parents(level: int, items: Tensor) -> Tensor:
    """Which beam each candidate continues: at first all share the one that begins the item."""
    if level == 1:
        return torch.zeros_like(items)
    return torch.arange(items.shape[1], device=items.device).expand(items.shape)
