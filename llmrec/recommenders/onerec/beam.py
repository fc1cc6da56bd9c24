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
from llmrec.recommenders.onerec.expansion import child_logits, children_of, codes_of
from llmrec.recommenders.onerec.limits import Children, Limits
from llmrec.recommenders.onerec.selection import best_first, best_positions
from llmrec.recommenders.onerec.trie import Int64Array, Trie, expand_leaves
from llmrec.training.allocator import keep_freed_memory

StateT = TypeVar("StateT", contravariant=True)
Normalize = Literal["vocabulary", "children"]


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
        self._dead: Tensor | None = None
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
        if self._is_first and self._normalize == "vocabulary":
            nodes = self._best_of_root(scores)
        else:
            nodes = self._best_of_children(scores)
        self._dead = None
        if float(self._scores.min()) == -math.inf:
            self._dead = self._scores == -torch.inf
            nodes.masked_fill_(self._dead, 0)
        self.codes = codes_of(self._trie, self.level, nodes)
        self._nodes = nodes
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
        order = best_first(self._scores)
        scores = self._scores.gather(1, order)
        leaves = self._taken.gather(1, order[..., None].expand(-1, -1, self._items))
        return BeamLists(leaves.masked_fill_(scores[..., None] == -torch.inf, -1), scores)

    @property
    def _is_first(self) -> bool:
        """Whether every user has one beam, which is at the root."""
        return self.level == 0 and self._nodes.shape[1] == 1 and not self._taken.shape[2]

    def _best_of_root(self, scores: StepScores) -> Tensor:
        """The nodes of the first step, where all users have the same children."""
        trie = self._trie
        totals = scores.logits[:, 0]
        if trie.n_nodes(1) < trie.sizes[0]:
            totals = totals.index_select(1, trie.codes[0][: trie.n_nodes(1)])
        totals = totals.float() - scores.log_normalizer
        first = torch.zeros_like(self._nodes)
        children = Children(1, first, torch.full_like(first, trie.n_nodes(1)))
        self._limits.close(children, totals[:, None])
        nodes, self._scores = best_positions(totals, min(self._width, totals.shape[1]))
        self.parents = torch.zeros_like(nodes)
        return nodes

    def _best_of_children(self, scores: StepScores) -> Tensor:
        """The best children of all beams of a user; sets their scores and parents."""
        children = children_of(self._trie, self.level, self._nodes, self._dead)
        totals = child_logits(self._trie, children, scores.logits)
        normalizer = scores.log_normalizer
        if self._normalize == "children":
            normalizer = totals.logsumexp(-1).masked_fill_(children.count == 0, 0.0)
        totals.add_((self._scores - normalizer)[..., None])
        self._limits.close(children, totals)
        if self._taken.shape[2]:
            self._close_taken(children, totals)
        flat = totals.view(len(totals), -1)
        chosen, self._scores = best_positions(flat, min(self._width, flat.shape[1]))
        self.parents = chosen.div(totals.shape[2], rounding_mode="floor")
        slots = chosen.sub_(self.parents * totals.shape[2])
        return children.first.gather(1, self.parents).add_(slots)

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
        k: Items per user, at most the width of the search unless that found every ID.
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
    if k > width and width < trie.n_leaves:  # else every ID was found, and items share some
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


def _check_search(trie: Trie, users: int, width: int, items: int, limits: Limits | None) -> None:
    for name, value in (("users", users), ("width", width), ("items", items)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; a search needs at least 1.")
    if limits is not None and limits.trie is not trie:
        raise ConfigError("the limits are of another trie; make them from the one searched.")
