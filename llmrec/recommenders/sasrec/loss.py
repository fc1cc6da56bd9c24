"""What SASRec minimises: cross-entropy of the next item at every position that carries loss."""

import torch
from torch import Tensor, nn

from llmrec.recommenders.sasrec.encoder import SequenceEncoder
from llmrec.recommenders.sasrec.windows import NegativeSampler, SequenceBatch
from llmrec.training.softmax import LogitShift, full_softmax_loss, sampled_softmax_loss


class NextItemLoss(nn.Module):
    """The encoder with its loss: what the training loop trains.

    Args:
        encoder: The network, with tied item vectors.
        sampler: Where a batch's negatives come from, or None for the full softmax.
        logq: Correct the sampled softmax for its sampler.
    """

    def __init__(
        self, encoder: SequenceEncoder, sampler: NegativeSampler | None, logq: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler
        self.logq = logq

    def forward(self, batch: SequenceBatch) -> Tensor:
        """Summed next-item loss of a batch."""
        return self.of_states(self.encoder(batch.items, batch.rows), batch)

    def of_states(self, states: Tensor, batch: SequenceBatch) -> Tensor:
        """The same from the states ``[total, d]`` of the batch's inputs."""
        states = states.index_select(0, batch.learn_at)
        targets = batch.targets - 1
        catalog = self.encoder.item_vectors
        if batch.negatives is None:
            shift, bias = None, self.encoder.repeat_bias
            if bias is not None and batch.seen is not None:
                shift = LogitShift(batch.seen[0], batch.seen[1] - 1, bias)
            precision = _matmul_precision(states)
            return full_softmax_loss(states.float(), catalog, targets, precision, shift)
        assert self.sampler is not None
        log_expected = self.sampler.log_expected(batch.negatives) if self.logq else None
        return sampled_softmax_loss(states, catalog, targets, batch.negatives - 1, log_expected)


def _matmul_precision(states: Tensor) -> torch.dtype:
    """The autocast type where mixed precision is on, else float32."""
    device = states.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.float32
