"""The semantic IDs that exist, as a trie in compressed sparse rows.

Level 0 is the root and level ``L`` holds the leaves. Nodes of a level are numbered in the order of
their codes, so the children of a node are consecutive nodes of the next level and its leaves are
consecutive leaves. A leaf is one semantic ID; items that share it hang at the same leaf. Arrays are
int32 tensors; nothing here knows of users, scores or masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from llmrec.data.ragged import offsets_of, span_indices
from llmrec.errors import DataError

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
_LARGEST_KEY = 1 << 62


@dataclass(frozen=True, eq=False)
class Trie:
    """All semantic IDs of a catalogue; made by :meth:`build`.

    Attributes:
        sizes: Codes per level.
        children: Per level ``0 .. L - 1``, ``[nodes + 1]``: the children of node ``i`` are the
            nodes ``children[level][i]`` to ``children[level][i + 1]`` of the next level.
        codes: Per level ``0 .. L - 1``, the code that leads to each node of the next level,
            followed by ``widest`` zeros, so that a slice of that length never ends too early.
        leaves: Per level ``0 .. L - 1``, ``[nodes + 1]``: the first leaf of every node.
        items: Item codes (1-based) in the order of their leaves.
        item_offsets: ``[leaves + 1]``: the items of leaf ``i`` are ``items[item_offsets[i]:
            item_offsets[i + 1]]``.
        n_items: Items of the vocabulary, those without a leaf included.
        widest: Most children of a node, per level.
    """

    sizes: tuple[int, ...]
    children: tuple[Tensor, ...]
    codes: tuple[Tensor, ...]
    leaves: tuple[Tensor, ...]
    items: Tensor
    item_offsets: Tensor
    n_items: int
    widest: tuple[int, ...]

    @classmethod
    def build(
        cls, codes: npt.ArrayLike, sizes: Sequence[int], order: npt.ArrayLike | None = None
    ) -> Self:
        """Build the trie of a catalogue.

        Args:
            codes: ``[items, levels]`` semantic IDs; row ``j`` belongs to item code ``j + 1``.
            sizes: Codes per level.
            order: ``[items]`` numbers; among items that share an ID the smaller comes first. None
                takes the order of the items.

        Raises:
            DataError: The table is empty or a code lies outside of its level.
        """
        table = _checked(codes, sizes)
        ranks = np.arange(len(table)) if order is None else np.asarray(order)
        if ranks.shape != (len(table),):
            raise DataError(f"the order has shape {ranks.shape}, not one number per item.")
        keys = _keys(table, sizes)
        rows = np.lexsort((np.arange(len(table)), ranks, keys))
        return cls._of_sorted(table[rows], sizes, rows + 1, len(table))

    @classmethod
    def _of_sorted(
        cls, table: Int32Array, sizes: Sequence[int], items: Int64Array, n_items: int
    ) -> Self:
        """From rows in the order of their codes, equal rows in the order of their items."""
        changed = np.ones((len(table), len(sizes)), dtype=np.bool_)
        np.not_equal(table[1:], table[:-1], out=changed[1:])
        np.logical_or.accumulate(changed, axis=1, out=changed)  # a new prefix of that length
        starts = [np.flatnonzero(column) for column in changed.T]
        ids = starts[-1]
        above = [np.zeros(1, dtype=np.int64), *starts[:-1]]  # row where each parent begins
        children = [
            np.append(np.searchsorted(own, parents), own.size)
            for parents, own in zip(above, starts, strict=True)
        ]
        leaves = [np.append(np.searchsorted(ids, parents), ids.size) for parents in above]
        widest = tuple(int(np.diff(edges).max()) for edges in children)
        codes = [
            functional.pad(_int32(table[own, level]), (0, widest[level]))
            for level, own in enumerate(starts)
        ]
        return cls(
            tuple(sizes),
            tuple(map(_int32, children)),
            tuple(codes),
            tuple(map(_int32, leaves)),
            _int32(items),
            _int32(np.append(ids, len(table))),
            n_items,
            widest,
        )

    @property
    def depth(self) -> int:
        """Number of levels ``L``."""
        return len(self.sizes)

    @property
    def n_leaves(self) -> int:
        """Number of different semantic IDs."""
        return self.item_offsets.numel() - 1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        tensors = (*self.children, *self.codes, *self.leaves, self.items, self.item_offsets)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def n_nodes(self, level: int) -> int:
        """Nodes of a level."""
        return self.n_leaves if level == self.depth else self.leaves[level].numel() - 1

    def leaf_spans(self, level: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """First leaf of every node, and the first leaf after it; shapes as ``nodes``, int64."""
        nodes = nodes.long()
        if level == self.depth:
            return nodes, nodes + 1
        edges = self.leaves[level]
        return edges[nodes].long(), edges[nodes + 1].long()

    def ancestors(self, level: int, leaves: Tensor) -> Tensor:
        """The node of ``level`` above every leaf; shape as ``leaves``, int64."""
        if level == self.depth:
            return leaves.long()
        edges = self.leaves[level]
        return torch.searchsorted(edges, leaves.to(edges.dtype).contiguous(), right=True) - 1

    def leaf_codes(self, leaves: Tensor) -> Tensor:
        """The semantic IDs of leaves: ``[..., levels]`` int64."""
        nodes = [self.ancestors(level, leaves) for level in range(1, self.depth + 1)]
        columns = [codes[node].long() for codes, node in zip(self.codes, nodes, strict=True)]
        return torch.stack(columns, dim=-1)

    @cached_property
    def item_leaves(self) -> Int32Array:
        """``[n_items]`` the leaf of item code ``j + 1``, -1 for an item without one."""
        found = np.full(self.n_items, -1, dtype=np.int32)
        found[self.items.cpu().numpy() - 1] = self._leaf_of_each()
        return found

    def _leaf_of_each(self) -> Int32Array:
        """The leaf of every entry of ``items``."""
        counts = self.item_offsets.cpu().diff().numpy()
        return np.repeat(np.arange(self.n_leaves, dtype=np.int32), counts)

    def restrict(self, allowed: npt.ArrayLike) -> Self:
        """The trie of some of the items; branches without any vanish.

        Codes, sizes and item codes stay as they are, so the same model searches in it.

        Args:
            allowed: ``[n_items]`` booleans, item code ``j + 1`` at place ``j``.

        Raises:
            DataError: The mask has another length, or none of the items is left.
        """
        mask = np.asarray(allowed, dtype=np.bool_)
        if mask.shape != (self.n_items,):
            raise DataError(
                f"the allow-list has {mask.size} marks for {self.n_items} items; give one per item."
            )
        items = self.items.cpu().numpy().astype(np.int64)
        kept = np.flatnonzero(mask[items - 1])
        if not kept.size:
            raise DataError(
                "the allow-list leaves no item that has a semantic ID; allow at least one."
            )
        leaves = torch.from_numpy(self._leaf_of_each()[kept]).to(self.items.device)
        table = self.leaf_codes(leaves)
        made = self._of_sorted(
            table.cpu().numpy().astype(np.int32), self.sizes, items[kept], self.n_items
        )
        return made.to(self.items.device)

    def to(self, device: torch.device | str) -> Self:
        """The same trie on another device."""

        def moved(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(tensor.to(device) for tensor in tensors)

        return type(self)(
            self.sizes,
            moved(self.children),
            moved(self.codes),
            moved(self.leaves),
            self.items.to(device),
            self.item_offsets.to(device),
            self.n_items,
            self.widest,
        )


def leaves_of_lists(
    trie: Trie, items: npt.ArrayLike, offsets: npt.ArrayLike, every_item: bool
) -> tuple[Int64Array, Int64Array]:
    """Leaves of ragged lists of items, one list per user.

    Args:
        trie: The trie.
        items: Item codes of all lists, 1-based.
        offsets: ``[users + 1]`` where each list begins.
        every_item: Only leaves all of whose items are in the list; otherwise any.

    Returns:
        Users and leaves, sorted, without repeats.

    Raises:
        DataError: An item code is none of the trie's vocabulary.
    """
    lists = np.asarray(items, dtype=np.int64)
    edges = np.asarray(offsets, dtype=np.int64)
    if lists.size and not (lists.min() >= 1 and lists.max() <= trie.n_items):
        raise DataError(f"item codes of a list must lie between 1 and {trie.n_items}.")
    users = np.repeat(np.arange(edges.size - 1), np.diff(edges))
    found = trie.item_leaves.astype(np.int64)
    pairs = np.unique(users * (trie.n_items + 1) + lists)  # an item counts once per list
    users, lists = np.divmod(pairs, trie.n_items + 1)
    leaves = found[lists - 1]
    users, leaves = users[leaves >= 0], leaves[leaves >= 0]
    keys, counts = np.unique(users * trie.n_leaves + leaves, return_counts=True)
    users, leaves = np.divmod(keys, trie.n_leaves)
    if not every_item:
        return users, leaves
    whole = counts == trie.item_offsets.cpu().diff().numpy()[leaves]
    return users[whole], leaves[whole]


def expand_leaves(trie: Trie, leaves: npt.ArrayLike) -> tuple[Int64Array, Int64Array]:
    """Items of leaves, one after another.

    Returns:
        Item codes, and for each the place of its leaf in ``leaves``.
    """
    wanted = np.asarray(leaves, dtype=np.int64)
    edges = trie.item_offsets.cpu().numpy().astype(np.int64)
    counts = edges[wanted + 1] - edges[wanted]
    items = trie.items.cpu().numpy().astype(np.int64)[span_indices(edges[wanted], counts)]
    return items, np.repeat(np.arange(wanted.size), np.diff(offsets_of(counts)))


def _checked(codes: npt.ArrayLike, sizes: Sequence[int]) -> Int32Array:
    table = np.asarray(codes)
    if table.ndim != 2 or not table.size or table.shape[1] != len(sizes):
        raise DataError(
            f"semantic IDs must have the shape [items, {len(sizes)}], not {table.shape}."
        )
    if not np.issubdtype(table.dtype, np.integer):
        raise DataError(f"semantic IDs must be integers, not {table.dtype}.")
    bad = np.argwhere((table < 0) | (table >= np.asarray(sizes)))
    if bad.size:
        row, level = bad[0]
        raise DataError(
            f"item row {row} has the code {table[row, level]} at level {level}, which has the "
            f"codes 0 to {sizes[level] - 1}."
        )
    return table.astype(np.int32)


def _keys(table: Int32Array, sizes: Sequence[int]) -> Int64Array:
    """One number per row that sorts like the row."""
    keys = np.zeros(len(table), dtype=np.int64)
    span = 1
    for level, size in enumerate(sizes):
        if span * size > _LARGEST_KEY:
            _, keys = np.unique(keys, return_inverse=True)  # ranks: at most one per item
            span = len(table)
        keys = keys * size + table[:, level]
        span *= size
    return keys


def _int32(values: npt.ArrayLike) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int32))
