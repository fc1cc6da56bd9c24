"""Beam search among the semantic IDs that exist.

A beam is a path in the trie, or a list of items and a path for the next one. A step looks at the
children of all beams of all users at once: their logits are gathered, the beam's score is added,
closed children are struck out, and each user keeps the ``width`` best. The model's vocabulary is
never masked, so a code that leads nowhere cannot come out. Depth is fixed: there is no end token
and no length penalty. Scores are sums of float32 log-probabilities; equal scores are ordered by the
smaller semantic ID.

The model is anything with the method of :class:`Decoder`. It encodes a user once, and it is told
for every beam which beam of the step before it continues.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.limits import Children, Limits
from llmrec.recommenders.onerec.selection import best_positions
from llmrec.recommenders.onerec.trie import Int64Array, Trie, expand_leaves
from llmrec.training.allocator import keep_freed_memory

StateT = TypeVar("StateT", contravariant=True)
Normalize = Literal["vocabulary", "children"]
_INT32 = 2**31


class StepScores(NamedTuple):
    """What a model says about the next code of every beam.

    Attributes:
        logits: ``[users, beams, codes]`` of the level asked for, of any float type.
        log_normalizer: ``[users, beams]`` float32: log-sum-exp over everything the model chooses
            from, so that ``logits - log_normalizer`` are log-probabilities.
    """

    logits: Tensor
    log_normalizer: Tensor

    @classmethod
    def of_level(cls, logits: Tensor) -> Self:
        """Normalise over the codes of the level; in float32 whatever the logits are."""
        return cls(logits, logits.float().logsumexp(-1))


class Decoder(Protocol[StateT]):
    """A model that is asked for one code after another."""

    def step(
        self, state: StateT, level: int, codes: Tensor | None, parents: Tensor | None
    ) -> StepScores:
        """Take in the codes chosen last and score the next level.

        Where ``level`` is 0 an item begins: the model takes in the codes, which were the last of
        the item before, and then its start of item. At the first step there is one beam per user,
        and codes and parents are None.

        Args:
            state: What the model knows of the users; it may keep caches there and change them.
            level: The level to be scored, from 0.
            codes: ``[users, beams]`` int64: the code every beam has just taken.
            parents: ``[users, beams]`` int64: the beam of the step before that each one continues.
                Caches per beam are reordered by it; caches per user stay.
        """
        ...


@dataclass(frozen=True, eq=False)
class BeamLists:
    """Lists found by a search, best first.

    Attributes:
        leaves: ``[users, width, items]`` int64 leaves of the trie; -1 where there is no list.
        scores: ``[users, width]`` float32 sums of log-probabilities; -inf where there is no list.
    """

    leaves: Tensor
    scores: Tensor

    @property
    def found(self) -> Tensor:
        """``[users]`` number of lists, at most the width."""
        return (self.scores > -torch.inf).sum(1)


class Beams:
    """The beams of all users: :func:`beam_search` alternates the model with :meth:`advance`.

    Args:
        trie: The semantic IDs.
        users: How many users.
        width: Beams per user.
        items: Items per list.
        limits: What users may get; None for everything.
        normalize: ``"vocabulary"``: probabilities as the model gives them, comparable between
            beams. ``"children"``: divided by their sum over the children of the beam.
    """

    def __init__(
        self,
        trie: Trie,
        users: int,
        width: int,
        items: int = 1,
        limits: Limits | None = None,
        normalize: Normalize = "vocabulary",
    ) -> None:
        _check_search(trie, users, width, items, limits)
        _keep_memory()
        self._trie, self._width, self._items = trie, width, items
        self._limits = limits or Limits(trie)
        self._normalize = normalize
        device = trie.items.device
        self._rows = torch.arange(users, device=device)[:, None]
        self._nodes = torch.zeros(users, 1, dtype=torch.int64, device=device)
        self._scores = torch.zeros(users, 1, device=device)
        self._dead = torch.zeros(users, 1, dtype=torch.bool, device=device)
        self._taken = torch.zeros(users, 1, 0, dtype=torch.int64, device=device)
        self.level = 0
        self.codes: Tensor | None = None
        self.parents: Tensor | None = None

    @property
    def is_done(self) -> bool:
        """Whether every list is complete."""
        return self._taken.shape[2] == self._items

    @torch.no_grad()
    def advance(self, scores: StepScores) -> None:
        """Extend all beams by one code and keep the best of every user.

        Raises:
            DataError: The scores do not fit the level and the beams, or are not finite.
        """
        self._check(scores)
        children, codes, totals = self._expand(scores)
        width = totals.shape[2]
        flat = totals.view(len(totals), -1)
        chosen, self._scores = best_positions(flat, min(self._width, flat.shape[1]))
        self.parents = chosen.div(width, rounding_mode="floor")
        slot = chosen - self.parents * width
        self.codes = codes.view(flat.shape).gather(1, chosen).long()
        nodes = children.first.gather(1, self.parents).add_(slot)
        self._dead = self._scores == -torch.inf
        self._nodes = nodes.masked_fill_(self._dead, 0)
        if self._taken.shape[2]:
            self._taken = self._taken[self._rows, self.parents]
        self.level += 1
        if self.level == self._trie.depth:
            earlier = self._taken.expand(*nodes.shape, -1)
            self._taken = torch.cat([earlier, nodes[..., None]], dim=2)
            self._nodes = torch.zeros_like(nodes)
            self.level = 0

    def lists(self) -> BeamLists:
        """The lists so far, best first; equal ones by the smaller semantic IDs."""
        order = _best_first(self._scores)
        scores = self._scores.gather(1, order)
        leaves = self._taken[self._rows, order]
        return BeamLists(leaves.masked_fill(scores[..., None] == -torch.inf, -1), scores)

    def _expand(self, scores: StepScores) -> tuple[Children, Tensor, Tensor]:
        """All children of all beams: where they lie, codes and total scores."""
        children = self._children()
        if self._is_first and self._normalize == "vocabulary":
            return children, *self._expand_root(children, scores)
        widest = max(1, int(children.count.max()))
        runs = self._trie.codes[self.level].unfold(0, widest, 1)
        codes = runs.index_select(0, children.first.view(-1))  # one copy per beam
        totals = _gather(scores.logits, codes).view(*children.first.shape, widest)
        if self._normalize == "children":
            normalizer = _without_places(totals, children.count).logsumexp(-1)
            offset = self._scores - normalizer.masked_fill_(children.count == 0, 0.0)
        else:
            offset = self._scores - scores.log_normalizer
            _without_places(totals, children.count)
        totals.add_(offset[..., None])
        self._limits.close(children, totals)
        if self._taken.shape[2]:
            self._close_taken(children, totals)
        return children, codes, totals

    @property
    def _is_first(self) -> bool:
        """Whether every user has one beam, which is at the root."""
        return self.level == 0 and self._nodes.shape[1] == 1 and not self._taken.shape[2]

    def _expand_root(self, children: Children, scores: StepScores) -> tuple[Tensor, Tensor]:
        """Codes and total scores of the first step: all users have the same children."""
        codes = self._trie.codes[0][: self._trie.n_nodes(1)]
        totals = scores.logits[:, 0].index_select(1, codes).float()
        totals = (totals - scores.log_normalizer)[:, None]
        self._limits.close(children, totals)
        return codes.expand(len(totals), -1), totals

    def _children(self) -> Children:
        edges, nodes = self._trie.children[self.level], self._nodes.view(-1)
        first = edges.index_select(0, nodes).long().view_as(self._nodes)
        stop = edges.index_select(0, nodes + 1).view_as(self._nodes)
        first.masked_fill_(self._dead, 0)
        return Children(self.level + 1, first, (stop - first).masked_fill_(self._dead, 0))

    def _close_taken(self, children: Children, totals: Tensor) -> None:
        """Strike out the children whose remaining leaves the beam's own list already holds."""
        nodes = self._trie.ancestors(children.level, self._taken)
        alike = (nodes[..., None] == nodes[..., None, :]).sum(-1)
        users = self._rows[..., None].expand_as(nodes)
        used_up = self._limits.available(children.level, users, nodes) == alike
        slots = nodes - children.first[..., None]
        used_up &= (slots >= 0) & (slots < children.count[..., None])
        user, beam, item = used_up.nonzero(as_tuple=True)
        totals[user, beam, slots[user, beam, item]] = -torch.inf

    def _check(self, scores: StepScores) -> None:
        expected = (*self._scores.shape, self._trie.sizes[self.level])
        if tuple(scores.logits.shape) != expected or (
            scores.log_normalizer.shape != self._scores.shape
        ):
            raise DataError(
                f"at level {self.level} the model must give logits of shape {expected}, one "
                f"normaliser per beam, not {tuple(scores.logits.shape)} and "
                f"{tuple(scores.log_normalizer.shape)}."
            )
        if not math.isfinite(float(scores.log_normalizer.sum())):
            bad = ~scores.log_normalizer.isfinite()
            row = int(bad.any(1).nonzero()[0])
            raise DataError(
                f"the model gave NaN or infinity for the user in row {row} at level {self.level}."
            )


@torch.inference_mode()
def beam_search(
    decoder: Decoder[StateT],
    state: StateT,
    trie: Trie,
    *,
    users: int,
    width: int,
    items: int = 1,
    limits: Limits | None = None,
    normalize: Normalize = "vocabulary",
) -> BeamLists:
    """Find the most probable items, or lists of items, of every user.

    With a width of at least the number of leaves (for lists: of lists) the result is that of
    scoring everything. A user with fewer than ``width`` possibilities gets fewer; no list repeats
    an item.

    Args:
        decoder: The model.
        state: What the model knows of the users.
        trie: The semantic IDs, on the model's device.
        users: How many users ``state`` holds.
        width: Beams per user.
        items: Items per list.
        limits: What users may get; None for everything in the trie.
        normalize: See :class:`Beams`.

    Raises:
        ConfigError: A number is below 1, or the limits are of another trie.
        DataError: The model's scores do not fit the trie, or are not finite.
    """
    beams = Beams(trie, users, width, items, limits, normalize)
    while not beams.is_done:
        beams.advance(decoder.step(state, beams.level, beams.codes, beams.parents))
    return beams.lists()


def top_items(
    lists: BeamLists,
    trie: Trie,
    k: int,
    may_get: Callable[[Int64Array, Int64Array], npt.NDArray[np.bool_]] | None = None,
) -> tuple[Int64Array, npt.NDArray[np.float32]]:
    """The ``k`` best items of every user from lists of one item.

    Items that share a semantic ID have its score and stand in the order of the trie.

    Args:
        lists: Result of a search with one item per list.
        trie: The trie that was searched.
        k: Items per user, at most the width of the search.
        may_get: Given user rows and item codes, which pairs are possible; for items that share
            their semantic ID with a refused one. None for all.

    Returns:
        Item codes ``[users, k]``, 1-based and 0 where there is none, and their scores, -inf there.

    Raises:
        ConfigError: The search was narrower than ``k``, or for lists of several items.
    """
    users, width, items = lists.leaves.shape
    if items != 1:
        raise ConfigError(f"top_items needs lists of one item, not of {items}.")
    if k > width:
        raise ConfigError(f"a beam of {width} cannot give {k} items; set the width to {k} or more.")
    leaves = lists.leaves[..., 0].cpu().numpy()
    scores = lists.scores.cpu().numpy()
    user, place = np.nonzero(leaves >= 0)
    codes, owner = expand_leaves(trie, leaves[user, place])
    user, score = user[owner], scores[user, place][owner]
    if may_get is not None:
        kept = may_get(user, codes)
        user, codes, score = user[kept], codes[kept], score[kept]
    counts = np.bincount(user, minlength=users)
    rank = np.arange(user.size) - np.repeat(np.cumsum(counts) - counts, counts)
    user, rank, codes, score = (values[rank < k] for values in (user, rank, codes, score))
    found = np.zeros((users, k), dtype=np.int64)
    found_scores = np.full((users, k), -np.inf, dtype=np.float32)
    found[user, rank], found_scores[user, rank] = codes, score
    return found, found_scores


@functools.cache
def _keep_memory() -> bool:
    """Once per process: a step's arrays are large enough to go back to the system each time."""
    return keep_freed_memory()


def _best_first(scores: Tensor) -> Tensor:
    """Order of every row, largest first, equal ones as they stand; on a CPU by NumPy's sort."""
    if scores.device.type != "cpu":
        return scores.sort(dim=1, descending=True, stable=True).indices
    return torch.from_numpy(np.argsort(-scores.numpy(), axis=1, kind="stable"))


def _gather(logits: Tensor, codes: Tensor) -> Tensor:
    """Logits ``[rows, widest]`` float32 of codes ``[rows, widest]``, row by row.

    One flat int32 index reads twice as fast as a gather along the last axis.
    """
    size = logits.shape[-1]
    kind = torch.int32 if logits.numel() < _INT32 else torch.int64
    starts = torch.arange(0, logits.numel(), size, dtype=kind, device=logits.device)
    places = codes + starts[:, None]
    return logits.reshape(-1).index_select(0, places.view(-1)).float()


def _without_places(values: Tensor, counts: Tensor) -> Tensor:
    """Add -inf to the places of ``[users, beams, widest]`` beyond each beam's count, in place.

    One copy and one addition per beam, and only where some beam has no child: several times faster
    than a mask.
    """
    least, most = int(counts.min()), values.shape[-1]
    if least < most:
        tail = most - least
        edge = values.new_zeros(2 * tail)
        edge[tail:] = -torch.inf
        rows = edge.unfold(0, tail, 1).index_select(0, most - counts.view(-1))
        values[..., least:].add_(rows.view(*values.shape[:-1], tail))
    return values


def _check_search(trie: Trie, users: int, width: int, items: int, limits: Limits | None) -> None:
    for name, value in (("users", users), ("width", width), ("items", items)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; a search needs at least 1.")
    if limits is not None and limits.trie is not trie:
        raise ConfigError("the limits are of another trie; make them from the one searched.")
