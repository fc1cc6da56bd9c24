"""Which positions make a text risky: the change of the risk when one of them is hidden.

A hidden position cannot be looked at; all others stay where they are. Positive values mean that
the position raises the risk. Texts are taken apart without a loop over positions.
"""

import numpy as np
import numpy.typing as npt
import torch

from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.batches import WindowBatch
from llmrec.signatures.los_net.columns import FloatArray
from llmrec.signatures.los_net.model import LOSNet
from llmrec.signatures.los_net.network import LOSNetwork, pool
from llmrec.signatures.los_net.origins import OnMismatch

_VARIANTS_AT_ONCE = 256


def occlusion(
    model: LOSNet,
    record: SignatureRecord,
    *,
    as_logit: bool = False,
    on_mismatch: OnMismatch = "error",
) -> FloatArray:
    """Risk of a text minus its risk with each position hidden: ``[N]`` float32.

    Args:
        model: A fitted model.
        record: The text's signature.
        as_logit: Differences of log-odds, which do not flatten near 0 and 1.
        on_mismatch: What to do with a record unlike those of training.

    Raises:
        DataError: As for :meth:`~llmrec.signatures.los_net.model.LOSNet.predict_risk`.
    """
    networks = model.networks
    source = model.checked_batches([record], on_mismatch=on_mismatch)
    batch = source.fixed(np.zeros(1, dtype=np.int64))
    found = np.mean([_logits(network, batch, len(record)) for network in networks], axis=0)
    found = found - model.shift
    values = found if as_logit else 1 / (1 + np.exp(-found))
    return np.asarray(values[0] - values[1:], dtype=np.float32)


@torch.inference_mode()
def _logits(network: LOSNetwork, batch: WindowBatch, n: int) -> npt.NDArray[np.float64]:
    """``[1 + n]`` logits: of the whole text, then with each position hidden."""
    device = next(network.parameters()).device
    batch = batch.to(device)
    grid = network.padding().expand(batch.seen.numel(), -1)
    vectors = network.embed(batch.inputs)
    grid = grid.index_copy(0, batch.cells, vectors.index_select(0, batch.source))
    grid = grid.view(*batch.seen.shape, -1)
    whole = network.read(grid, batch.seen)
    # one variant per cell that holds a position: its window with that cell hidden
    window = batch.cells // batch.seen.shape[1]
    hidden = torch.cat(
        [
            _read_without(network, grid, batch.seen, cells)
            for cells in torch.split(batch.cells, _VARIANTS_AT_ONCE)
        ]
        or [whole[:0]]
    )
    logits = whole.repeat(n, 1)  # [n, windows]
    logits[batch.source, window] = hidden
    logits = torch.cat([whole[None], logits])
    owner = torch.arange(n + 1, device=device).repeat_interleave(len(whole))
    pooled = pool(logits.flatten(), owner, n + 1, network.config.task)
    return pooled.double().cpu().numpy()


def _read_without(
    network: LOSNetwork, grid: torch.Tensor, seen: torch.Tensor, cells: torch.Tensor
) -> torch.Tensor:
    window, place = cells // seen.shape[1], cells % seen.shape[1]
    seen = seen[window].clone()
    seen[torch.arange(len(cells), device=cells.device), place] = False
    return network.read(grid[window], seen)


def char_spans(tokens: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Where tokens lie in the text they make up: ``[N, 2]`` first character and end.

    >>> char_spans(("The", " cat")).tolist()
    [[0, 3], [3, 7]]
    """
    lengths = np.array([len(token) for token in tokens], dtype=np.int64)
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1)
