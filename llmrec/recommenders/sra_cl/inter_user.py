"""Inter-user contrast: a sequence against a blend of its semantic neighbours' states.

SRA-CL, section 3.2. The neighbours are other sequences whose texts lie close; their states come
from the bank without gradient, or from the encoder with it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.recommenders.sasrec.windows import SequenceBatch
from llmrec.recommenders.sra_cl.contrast import Contrast
from llmrec.recommenders.sra_cl.objective import Anchors, Drawn, Objective, Step
from llmrec.recommenders.sra_cl.synthesis import Synthesis, uniform_weights

ReadStates = Callable[[Step, Tensor], Tensor]
"""States ``[n, d]`` of training events, from a bank or by encoding their sequences."""


class InterUser(Objective):
    """The loss that the paper weights with alpha.

    Args:
        neighbors: ``[events, k]`` int32 rows of the neighbours, -1 where unused.
        vectors: ``[events, D]`` text vectors of the sequences that end at each event.
        read_states: Where the neighbours' states come from.
        synthesis: How neighbours are weighted; None weights them equally.
        encode_again: Encode the anchors once more for this loss, with another draw of dropout.
        weight: Factor in the total loss.
        first_epoch: When it begins.
        temperature: Of its InfoNCE.
    """

    name = "inter_user"

    def __init__(
        self,
        neighbors: npt.NDArray[np.int32],
        vectors: npt.NDArray[np.floating],
        read_states: ReadStates,
        synthesis: Synthesis | None,
        encode_again: bool,
        weight: float,
        first_epoch: int,
        temperature: float,
    ) -> None:
        super().__init__(weight, first_epoch, temperature)
        self.synthesis = synthesis
        self._neighbors = neighbors
        self._vectors = vectors
        self._read_states = read_states
        self._encode_again = encode_again

    def draw(self, batch: SequenceBatch, anchors: Anchors, generator: np.random.Generator) -> Drawn:
        """Look up neighbours and texts of the anchors that have any."""
        events = anchors.events.numpy()
        rows = self._neighbors[events]
        chosen = np.flatnonzero((rows >= 0).any(1))
        rows = rows[chosen].astype(np.int64)
        drawn = {
            "chosen": torch.from_numpy(chosen),
            "rows": torch.from_numpy(np.maximum(rows, 0)),
            "valid": torch.from_numpy(rows >= 0),
        }
        if self.synthesis is not None:
            query = self._vectors[events[chosen]].astype(np.float32)
            keys = self._vectors[np.maximum(rows, 0)].astype(np.float32)
            drawn |= {"query": torch.from_numpy(query), "keys": torch.from_numpy(keys)}
        return drawn

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """Anchors against the blends of their neighbours."""
        chosen, rows, valid = drawn["chosen"], drawn["rows"], drawn["valid"]
        if self.synthesis is None:
            weights = uniform_weights(valid)
        else:
            weights = self.synthesis(drawn["query"], drawn["keys"], valid)
        used = rows[valid]
        neighbors = step.states.new_zeros(*rows.shape, step.states.shape[1])
        neighbors = neighbors.masked_scatter(
            valid.unsqueeze(2), self._read_states(step, used).to(neighbors.dtype)
        )
        positives = torch.einsum("nk,nkd->nd", weights.to(neighbors.dtype), neighbors)
        states = step.anchor_states
        if self._encode_again:
            again = step.encode(step.batch.items, step.batch.rows)
            states = again.index_select(0, step.anchors.at)
        return Contrast(states[chosen], positives, step.mask_of(chosen))
