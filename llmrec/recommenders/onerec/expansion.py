"""The children of beams and what a model says about them: gathered, never masked.

All beams of all users are looked at in one go, as a table with a row per beam that is as wide as
the most children of one of them. What is beyond a beam's children is -inf.
"""

import torch
from torch import Tensor

from llmrec.recommenders.onerec.limits import Children
from llmrec.recommenders.onerec.trie import Trie

_INT32 = 2**31
_NARROW = 8  # children of a beam that are not worth copying in runs


def children_of(trie: Trie, level: int, nodes: Tensor, dead: Tensor | None) -> Children:
    """Where the children of beams lie.

    Args:
        trie: The trie.
        level: The level of the nodes.
        nodes: ``[users, beams]`` int64.
        dead: ``[users, beams]`` beams that have no children, whatever their node; None for none.
    """
    edges, flat = trie.children[level], nodes.view(-1)
    first = edges.index_select(0, flat).view_as(nodes)
    count = edges.index_select(0, flat + 1).view_as(nodes).sub_(first)
    if dead is not None:
        count.masked_fill_(dead, 0)
    return Children(level + 1, first.long(), count.long())


def codes_of(trie: Trie, level: int, nodes: Tensor) -> Tensor:
    """The codes of ``level`` that lead to nodes of the next one; shape as ``nodes``, int64."""
    return trie.codes[level].index_select(0, nodes.view(-1)).long().view_as(nodes)


def child_logits(trie: Trie, children: Children, logits: Tensor) -> Tensor:
    """Logits of the children of every beam.

    Args:
        trie: The trie.
        children: The children of every beam.
        logits: ``[users, beams, codes]`` of their level, of any float type.

    Returns:
        ``[users, beams, widest]`` float32, child ``first + j`` at place ``j``, -inf beyond a
        beam's children; ``widest`` is at least 1.
    """
    least, most = (int(edge) for edge in children.count.aminmax())
    codes = trie.codes[children.level - 1]
    if most > _NARROW:
        found = _in_runs(codes, children, most, logits)
        return _without_places(found, children.count, least)
    return _one_by_one(codes, children, max(1, most), logits)


def _in_runs(codes: Tensor, children: Children, widest: int, logits: Tensor) -> Tensor:
    """As :func:`child_logits`, with anything beyond a beam's children.

    A beam's codes are copied in one piece, whatever its count. One flat int32 index reads twice as
    fast as a gather along the last axis.
    """
    places = codes.unfold(0, widest, 1).index_select(0, children.first.view(-1))
    if logits.numel() >= _INT32:
        places = places.long()
    starts = torch.arange(len(places), dtype=places.dtype, device=places.device)
    places.add_(starts.mul_(logits.shape[-1])[:, None])
    found = logits.reshape(-1).index_select(0, places.view(-1)).float()
    return found.view(*children.first.shape, widest)


def _one_by_one(codes: Tensor, children: Children, widest: int, logits: Tensor) -> Tensor:
    """As :func:`child_logits`, reading only what is there.

    In the last levels most beams have one child and a few have several: most places are empty.
    """
    slots = torch.arange(widest, device=codes.device)
    there = (slots < children.count.view(-1, 1)).view(-1).nonzero().view(-1)
    beams = there.div(widest, rounding_mode="floor")
    nodes = children.first.view(-1).index_select(0, beams).add_(there).sub_(beams * widest)
    places = beams.mul_(logits.shape[-1]).add_(codes.index_select(0, nodes))
    found = logits.reshape(-1).index_select(0, places).float()
    table = found.new_full((*children.first.shape, widest), -torch.inf)
    table.view(-1).index_copy_(0, there, found)
    return table


def _without_places(values: Tensor, counts: Tensor, least: int) -> Tensor:
    """Add -inf to the places of ``[users, beams, widest]`` beyond each beam's count, in place.

    One copy and one addition per beam, and only where some beam has no child: several times faster
    than a mask.
    """
    most = values.shape[-1]
    if least < most:
        tail = most - least
        edge = values.new_zeros(2 * tail)
        edge[tail:] = -torch.inf
        rows = edge.unfold(0, tail, 1).index_select(0, most - counts.view(-1))
        values[..., least:].add_(rows.view(*values.shape[:-1], tail))
    return values
