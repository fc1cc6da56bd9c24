"""Run a network over many texts: batches of similar length, on the network's device."""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.signatures.los_net.batches import SignatureBatches
from llmrec.signatures.los_net.network import LOSNetwork

_POSITIONS_AT_ONCE = 8_192
"""Positions of a batch: 4 MiB of vectors at width 128, which a core's caches hold."""


@torch.inference_mode()
def logits_of(network: LOSNetwork, source: SignatureBatches) -> npt.NDArray[np.float32]:
    """One logit per text: ``[n]`` float32. Leaves the network in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    order = np.argsort(source.lengths, kind="stable")
    found = np.empty(len(source), dtype=np.float32)
    for rows in blocks(source.lengths[order], _POSITIONS_AT_ONCE):
        chosen = order[rows]
        batch = source.fixed(chosen).to(device)
        found[chosen] = network(batch).float().cpu().numpy()
    return found


def blocks(lengths: npt.NDArray[np.int64], most: int) -> list[slice]:
    """Cut ascending lengths into runs that hold about ``most`` positions each.

    >>> blocks(np.array([1, 1, 2, 4, 9]), 4)
    [slice(0, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    found, start, total = [], 0, 0
    for place, length in enumerate(np.maximum(lengths, 1).tolist()):
        if total and total + length > most:
            found.append(slice(start, place))
            start, total = place, 0
        total += length
    return [*found, slice(start, len(lengths))] if len(lengths) else []
