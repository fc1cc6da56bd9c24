"""Which leaves a user may still get: none refused, some refused, or only some allowed.

A search asks two things: how many leaves below a node are left to a user, and which children of
its beams have none left. Refused leaves are kept as a sorted list, so that their cost does not
depend on the size of the catalogue; allow-lists are kept as a bitmap over leaves, counted upwards.
A branch without a leaf left is never entered.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.ragged import offsets_of, row_of_each
from llmrec.errors import DataError, shorten
from llmrec.recommenders.onerec.trie import Int64Array, Trie, leaves_of_lists

Lists = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class Children:
    """The children of the beams of one step.

    Attributes:
        level: Their level.
        first: ``[users, beams]`` int64: the first child.
        count: ``[users, beams]`` int64: number of children; 0 for a dead beam.
    """

    level: int
    first: Tensor
    count: Tensor


class Limits:
    """No limits: every user may get every leaf.

    Args:
        trie: The trie of the search.
    """

    def __init__(self, trie: Trie) -> None:
        self.trie = trie

    def available(self, level: int, users: Tensor, nodes: Tensor) -> Tensor:
        """How many leaves below ``nodes`` are left to ``users``; shapes alike, int64."""
        first, stop = self.trie.leaf_spans(level, nodes)
        return stop - first

    def close(self, children: Children, scores: Tensor) -> None:
        """Set the scores of children without a leaf left to -inf, in place.

        Args:
            children: The children of every beam.
            scores: ``[users, beams, widest]``; child ``first + j`` at place ``j``.
        """


class Exclusions(Limits):
    """Some leaves are refused, for instance those of items a user has seen.

    Args:
        trie: The trie of the search.
        users: User row of every refused leaf.
        leaves: The refused leaves; sorted by user and leaf, without repeats.
    """

    def __init__(self, trie: Trie, users: npt.ArrayLike, leaves: npt.ArrayLike) -> None:
        super().__init__(trie)
        device = trie.items.device
        self._users = torch.as_tensor(np.asarray(users, dtype=np.int64)).to(device)
        self._leaves = torch.as_tensor(np.asarray(leaves, dtype=np.int64)).to(device)
        self._keys = self._users * trie.n_leaves + self._leaves
        self._closed = [self._closed_nodes(level) for level in range(1, trie.depth + 1)]

    @classmethod
    def of_items(cls, trie: Trie, items: npt.ArrayLike, offsets: npt.ArrayLike) -> Self:
        """Refuse items: a leaf is refused when all of its items are.

        Args:
            trie: The trie of the search.
            items: Item codes of all users, 1-based.
            offsets: ``[users + 1]`` where each user's items begin.
        """
        return cls(trie, *leaves_of_lists(trie, items, offsets, every_item=True))

    def available(self, level: int, users: Tensor, nodes: Tensor) -> Tensor:
        """See :meth:`Limits.available`."""
        first, stop = self.trie.leaf_spans(level, nodes)
        base = users * self.trie.n_leaves
        refused = torch.searchsorted(self._keys, base + stop)
        return stop - first - (refused - torch.searchsorted(self._keys, base + first))

    def close(self, children: Children, scores: Tensor) -> None:
        """See :meth:`Limits.close`; the work is that of the refused leaves."""
        closed = self._closed[children.level - 1]
        if not closed.numel():
            return
        users, _, widest = scores.shape
        rows = torch.arange(users, device=closed.device)[:, None]
        first = rows * self.trie.n_nodes(children.level) + children.first
        low = torch.searchsorted(closed, first)
        found = (torch.searchsorted(closed, first + children.count) - low).view(-1)
        beams = torch.repeat_interleave(found)
        within = torch.arange(beams.numel(), device=beams.device)
        within -= (found.cumsum(0) - found)[beams]
        nodes = closed[low.view(-1)[beams] + within] - first.view(-1)[beams]
        scores.view(-1)[beams * widest + nodes] = -torch.inf

    def _closed_nodes(self, level: int) -> Tensor:
        """``user * nodes + node`` of the level's nodes with every leaf refused, ascending."""
        nodes = self.trie.ancestors(level, self._leaves)
        size = self.trie.n_nodes(level)
        keys, refused = torch.unique_consecutive(self._users * size + nodes, return_counts=True)
        first, stop = self.trie.leaf_spans(level, keys % size)
        closed: Tensor = keys[refused == stop - first]
        return closed


class AllowLists(Limits):
    """Every user may get the items of a list of their own, less those refused.

    For one list for all users search in :meth:`Trie.restrict` instead. Memory: a number per user
    and leaf.

    Args:
        trie: The trie of the search.
        allowed: ``[users, leaves]`` booleans.

    Raises:
        DataError: A user is left without a leaf.
    """

    def __init__(self, trie: Trie, allowed: Tensor) -> None:
        super().__init__(trie)
        if allowed.shape[1:] != (trie.n_leaves,):
            raise DataError(f"allow-lists must have {trie.n_leaves} leaves, not {allowed.shape}.")
        counted = torch.zeros(len(allowed), trie.n_leaves + 1, dtype=torch.int32)
        torch.cumsum(allowed.cpu(), dim=1, dtype=torch.int32, out=counted[:, 1:])
        empty = torch.nonzero(counted[:, -1] == 0).view(-1)
        if empty.numel():
            raise DataError(
                f"the allow-list leaves nothing for the users in rows {shorten(empty.tolist())}; "
                "allow an item that has a semantic ID and was not seen."
            )
        self._counted = counted.to(trie.items.device)

    @classmethod
    def of_items(
        cls,
        trie: Trie,
        items: npt.ArrayLike,
        offsets: npt.ArrayLike,
        refused: Lists | None = None,
    ) -> Self:
        """Allow items: a leaf is allowed when one of its items is allowed and not refused.

        Args:
            trie: The trie of the search.
            items: Allowed item codes of all users, 1-based.
            offsets: ``[users + 1]`` where each user's items begin.
            refused: Items and offsets of refused items, or None.
        """
        if refused is not None:
            items, offsets = _without((items, offsets), refused)
        users, leaves = leaves_of_lists(trie, items, offsets, every_item=False)
        allowed = torch.zeros(np.asarray(offsets).size - 1, trie.n_leaves, dtype=torch.bool)
        allowed[torch.from_numpy(users), torch.from_numpy(leaves)] = True
        return cls(trie, allowed)

    def available(self, level: int, users: Tensor, nodes: Tensor) -> Tensor:
        """See :meth:`Limits.available`."""
        first, stop = self.trie.leaf_spans(level, nodes)
        return (self._counted[users, stop] - self._counted[users, first]).long()

    def close(self, children: Children, scores: Tensor) -> None:
        """See :meth:`Limits.close`."""
        users, _, widest = scores.shape
        rows = torch.arange(users, device=scores.device)[:, None, None]
        nodes = children.first[..., None] + torch.arange(widest, device=scores.device)
        nodes.clamp_(max=self.trie.n_nodes(children.level) - 1)
        left = self.available(children.level, rows.expand_as(nodes), nodes)
        scores.masked_fill_(left == 0, -torch.inf)


def _without(lists: Lists, refused: Lists) -> tuple[Int64Array, Int64Array]:
    """Ragged lists of items without those of other lists, user by user."""
    given, gone = (
        row_of_each(_int64(edges)) << 32 | _int64(items) for items, edges in (lists, refused)
    )
    left = np.setdiff1d(given, gone)
    counts = np.bincount(left >> 32, minlength=_int64(lists[1]).size - 1)
    return left & 0xFFFFFFFF, offsets_of(counts)


def _int64(values: npt.ArrayLike) -> Int64Array:
    return np.asarray(values, dtype=np.int64)
