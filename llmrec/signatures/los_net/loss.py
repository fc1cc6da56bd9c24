"""What LOS-Net minimises: binary cross-entropy of the texts' logits."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.signatures.los_net.batches import WindowBatch
from llmrec.signatures.los_net.network import LOSNetwork


class RiskLoss(nn.Module):
    """The network with its loss: what the training loop trains.

    Args:
        network: Gives one logit per text.
        weight: Of texts with label 1; others count 1.
    """

    def __init__(self, network: LOSNetwork, weight: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.weight = weight

    def forward(self, batch: WindowBatch) -> Tensor:
        """Summed cross-entropy of a batch."""
        weights = 1 + (self.weight - 1) * batch.labels
        return functional.binary_cross_entropy_with_logits(
            self.network(batch).float(), batch.labels, weights, reduction="sum"
        )


def balance(labels: npt.NDArray[np.float32], balanced: bool) -> tuple[float, float]:
    """Weight of label 1, and what the weighting adds to every logit.

    With weight ``w`` the network learns the logit of ``w p / (w p + 1 - p)``, which is
    ``logit(p) + log w``.

    >>> balance(np.array([1, 0, 0, 0], dtype=np.float32), True)[0]
    3.0
    """
    if not balanced:
        return 1.0, 0.0
    positives = float(labels.sum())
    weight = (labels.size - positives) / max(positives, 1.0)
    return weight, float(np.log(weight))


@torch.inference_mode()
def mean_loss(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> float:
    """Mean cross-entropy in nats."""
    found = functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(labels)
    )
    return float(found)
