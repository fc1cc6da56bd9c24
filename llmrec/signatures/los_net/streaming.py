"""Risk while an answer is being written: one position after another.

After every position the risk is that of the text so far, equal to what ``predict_risk`` says about
it up to rounding. A position's vector is computed once, and so is the logit of a complete window;
with one layer, what the first state asks of the others never changes. It means something early in
an answer only if training saw beginnings (``random_prefix=true``).
"""

import math

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.batches import Inputs
from llmrec.signatures.los_net.model import LOSNet
from llmrec.signatures.los_net.network import LOSNetwork
from llmrec.signatures.los_net.origins import OnMismatch


class RiskStream:
    """The risk of one text as it grows.

    Args:
        model: A fitted model.
        on_mismatch: What to do with positions unlike the records of training.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(60, seed=0)
        >>> model = LOSNet(k=5, hidden=16, training={"epochs": 1}, random_prefix=True)
        >>> stream = RiskStream(model.fit(records, labels))
        >>> risks = [stream.push(position) for position in split_positions(records[0])]
        >>> abs(risks[-1] - model.predict_risk(records[:1])[0]) < 1e-5
        True
    """

    def __init__(self, model: LOSNet, on_mismatch: OnMismatch = "error") -> None:
        self._model = model
        self._on_mismatch = on_mismatch
        self._texts = [_GrowingText(network) for network in model.networks]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @torch.inference_mode()
    def push(self, positions: SignatureRecord) -> float:
        """Take in the next position or positions and tell the risk of all so far.

        Raises:
            ConfigError: There is no position.
            DataError: As for :meth:`~llmrec.signatures.los_net.model.LOSNet.predict_risk`.
        """
        if not len(positions):
            raise ConfigError("a push without positions adds nothing; push at least one.")
        source = self._model.checked_batches([positions], on_mismatch=self._on_mismatch)
        inputs = Inputs.of(source.features)
        self._length += len(positions)
        logits = [text.push(inputs) for text in self._texts]
        return float(expit(sum(logits) / len(logits) - self._model.shift))


class _GrowingText:
    """The vectors of one network's window that may still change, and what the others said.

    One window at most is open: the next one begins to count when the text outgrows the last.
    """

    @torch.inference_mode()
    def __init__(self, network: LOSNetwork) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        self._asked = network.fixed_questions()
        self._vectors = torch.empty(0, network.config.hidden, device=self._device)
        self._complete = 0  # windows
        self._pooled = -math.inf if network.config.task == "correctness" else 0.0
        self._overlap = 0  # positions of the open window that the last complete one had too

    def push(self, inputs: Inputs) -> float:
        network, config = self._network, self._network.config
        moved = Inputs(*(tensor.to(self._device) for tensor in vars(inputs).values()))
        self._vectors = torch.cat([self._vectors, network.embed(moved)])
        while len(self._vectors) >= config.window and not self._is_cut:
            logit = self._logit_of(self._vectors[: config.window])
            self._pooled, self._complete = self._pooled_with(logit)
            self._vectors = self._vectors[config.stride :]
            self._overlap = config.window - config.stride
        if self._is_cut:
            self._vectors = self._vectors[:0]  # nothing after the first window is looked at
        pooled, count = self._pooled, self._complete
        if not count or len(self._vectors) > self._overlap:
            pooled, count = self._pooled_with(self._logit_of(self._vectors))
        return pooled if config.task == "correctness" else pooled / count

    @property
    def _is_cut(self) -> bool:
        return self._complete > 0 and self._network.config.long_text == "cut"

    def _pooled_with(self, logit: float) -> tuple[float, int]:
        """Largest logit, or their sum, and the number of windows, with one more."""
        largest = self._network.config.task == "correctness"
        pooled = max(self._pooled, logit) if largest else self._pooled + logit
        return pooled, self._complete + 1

    def _logit_of(self, vectors: Tensor) -> float:
        config = self._network.config
        if config.pad_attention == "official":
            padding = self._network.padding().expand(config.window - len(vectors), -1)
            vectors = torch.cat([vectors, padding])
        return float(self._network.read(vectors[None], asked=self._asked))


def split_positions(record: SignatureRecord) -> list[SignatureRecord]:
    """A record as records of one position each, in their order."""
    return [slice_positions(record, start, start + 1) for start in range(len(record))]


def slice_positions(record: SignatureRecord, start: int, stop: int) -> SignatureRecord:
    """Positions ``start`` to ``stop`` of a record; its text is left out."""
    n = len(record)
    changed = {
        name: value[start:stop]
        for name, value in vars(record).items()
        if (isinstance(value, np.ndarray | tuple)) and len(value) == n
    }
    return SignatureRecord(**{**vars(record), **changed, "text": None})
