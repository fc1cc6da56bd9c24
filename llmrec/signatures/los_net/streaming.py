"""Risk while an answer is being written: one position after another.

After every position the risk is that of the text so far, equal to what ``predict_risk`` says about
it up to rounding. A position's vector is computed once; the windows that are complete keep their
logits. It means something early in an answer only if training saw beginnings
(``random_prefix=true``).
"""

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.batches import Inputs
from llmrec.signatures.los_net.model import LOSNet
from llmrec.signatures.los_net.network import LOSNetwork
from llmrec.signatures.los_net.origins import OnMismatch
from llmrec.signatures.los_net.windows import windows_of


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
        logit = float(np.mean(logits)) - self._model.shift
        return float(1 / (1 + np.exp(-logit)))


class _GrowingText:
    """The vectors of one network's windows that may still change, and the logits of the others."""

    def __init__(self, network: LOSNetwork) -> None:
        self._network = network
        self._device = next(network.parameters()).device
        config = network.config
        self._vectors = torch.empty(0, config.hidden, device=self._device)
        self._begins = 0  # position of the first vector kept
        self._length = 0
        self._complete: list[float] = []

    def push(self, inputs: Inputs) -> float:
        network, config = self._network, self._network.config
        moved = Inputs(*(tensor.to(self._device) for tensor in vars(inputs).values()))
        self._vectors = torch.cat([self._vectors, network.embed(moved)])
        self._length += len(moved.actual)
        lengths = np.array([self._length])
        windows = windows_of(lengths, config.window, config.stride, config.long_text == "cut")
        open_logits = []
        for start, length in zip(windows.start.tolist(), windows.length.tolist(), strict=True):
            if start < self._begins:
                continue
            part = self._vectors[start - self._begins : start - self._begins + length]
            logit = self._logit_of(part)
            if length == config.window:
                self._complete.append(logit)
                self._forget_before(start + config.stride)
            else:
                open_logits.append(logit)
        found = self._complete + open_logits
        return max(found) if config.task == "correctness" else sum(found) / len(found)

    def _logit_of(self, vectors: Tensor) -> float:
        config = self._network.config
        if config.pad_attention == "official":
            padding = self._network.padding().expand(config.window - len(vectors), -1)
            vectors = torch.cat([vectors, padding])
        seen = torch.ones(1, len(vectors), dtype=torch.bool, device=self._device)
        return float(self._network.read(vectors[None], seen))

    def _forget_before(self, position: int) -> None:
        """Drop vectors that no window still to come will look at."""
        self._vectors = self._vectors[position - self._begins :]
        self._begins = position


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
