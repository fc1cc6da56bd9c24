"""Inter-user contrast: a sequence against a blend of its semantic neighbours' states.

SRA-CL, section 3.2. The neighbours are other sequences whose texts lie close; their states come
from the bank without gradient, or from the encoder with it.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.recommenders.sasrec.windows import SequenceBatch
from llmrec.recommenders.sra_cl.contrast import Contrast
from llmrec.recommenders.sra_cl.neighbor_states import NeighborStates
from llmrec.recommenders.sra_cl.objective import Anchors, Drawn, Objective, Step
from llmrec.recommenders.sra_cl.synthesis import Synthesis, uniform_weights


class InterUser(Objective):
    """The loss that the paper weights with alpha.

    Args:
        neighbors: ``[events, k]`` int32 rows of the neighbours, -1 where unused.
        vectors: ``[events, D]`` text vectors of the sequences that end at each event.
        states: Where the neighbours' states come from.
        synthesis: How neighbours are weighted; None weights them equally.
        encode_again: Encode the anchors once more for this loss, with another draw of dropout.
        weight: Factor in the total loss.
        first_epoch: When it begins.
        temperature: Of its InfoNCE.
    """

    name = "inter_user"
    vectors: Tensor

    def __init__(
        self,
        neighbors: npt.NDArray[np.int32],
        vectors: npt.NDArray[np.floating],
        states: NeighborStates,
        synthesis: Synthesis | None,
        encode_again: bool,
        weight: float,
        first_epoch: int,
        temperature: float,
    ) -> None:
        super().__init__(weight, first_epoch, temperature)
        self.synthesis = synthesis
        self._neighbors = neighbors
        # where the network is, and in no checkpoint
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)
        self._states = states
        self._encode_again = encode_again

    def draw(self, batch: SequenceBatch, anchors: Anchors, generator: np.random.Generator) -> Drawn:
        """Look up the neighbours of the anchors that have any."""
        found = self._neighbors[anchors.events.numpy()]
        chosen = np.flatnonzero((found >= 0).any(1))
        found = found[chosen]
        rows = np.maximum(found, 0).astype(np.int64)  # an unused slot reads row 0, with weight 0
        return {
            "chosen": torch.from_numpy(chosen),
            "neighbors": torch.from_numpy(rows),
            "valid": torch.from_numpy(found >= 0),
            **self._states.prepare(rows.ravel()),
        }

    def forward(self, step: Step, drawn: Drawn) -> Contrast:
        """Anchors against the blends of their neighbours."""
        chosen, valid = drawn["chosen"], drawn["valid"]
        if self.synthesis is None:
            weights = uniform_weights(valid)
        else:
            query = self.vectors[step.anchors.events[chosen]].float()
            weights = self.synthesis(query, self.vectors[drawn["neighbors"]].float(), valid)
        neighbors = self._states.read(step, drawn).to(step.states.dtype)
        neighbors = neighbors.view(*valid.shape, step.states.shape[1])
        positives = torch.einsum("nk,nkd->nd", weights.to(neighbors.dtype), neighbors)
        states = step.anchor_states
        if self._encode_again:
            again = step.encode(step.batch.items, step.batch.rows)
            states = again.index_select(0, step.anchors.at)
        return Contrast(states[chosen], positives, step.mask_of(chosen))
