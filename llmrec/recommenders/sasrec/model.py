"""SASRec as a recommender: fit, score, save.

The model scores an item by the product of its vector with the state at the newest event. It looks
at the newest ``max_length`` events only and cannot score an empty history; timestamps and ratings
are not used.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import ranking_metrics, require_ranking_metric
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.sasrec.config import SASRecConfig
from llmrec.recommenders.sasrec.encoder import PackedRows, SequenceEncoder
from llmrec.recommenders.sasrec.loss import NextItemLoss
from llmrec.recommenders.sasrec.validation import ranking_metrics_on_device
from llmrec.recommenders.sasrec.windows import NegativeSampler, SequenceWindows, seen_pairs
from llmrec.recommenders.trained import TrainedRecommender
from llmrec.training.batches import BatchSource
from llmrec.training.seeds import seed_everything

_FULL_SOFTMAX_UP_TO = 50_000  # items; above, the sampled loss costs far less and learns as well
_ENCODED_AT_ONCE = 512


class SASRec(TrainedRecommender[SASRecConfig]):
    """Self-attentive sequential recommendation (Kang and McAuley, 2018).

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of :class:`SASRecConfig`.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> split = leave_one_out(simulate("simulate:tiny@1").dataset)
        >>> model = SASRec(dim=8, training={"epochs": 1}).fit(split.train_histories())
        >>> model.score_catalog(split.cases("test").histories).shape[1] == len(model.vocabulary)
        True
    """

    name: ClassVar[str] = "sasrec"
    config_class: ClassVar[type[SASRecConfig]] = SASRecConfig

    _encoder: SequenceEncoder | None = None

    @property
    def encoder(self) -> SequenceEncoder:
        """The network of a fitted model."""
        self._require_fitted()
        assert self._encoder is not None
        return self._encoder

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        if valid is not None:
            require_ranking_metric(config.training.metric, f"{self.name}: training.metric")
        n_items = len(train.vocabulary)
        seed_everything(config.training.seed)
        encoder = SequenceEncoder(config, n_items)
        module, source = self._training_parts(encoder, train)
        self._encoder = encoder  # only now: what is refused above leaves an earlier fit as it was
        validate = None
        if valid is not None:
            metrics, filtered = [config.training.metric], config.validation_filters_seen

            def validate() -> Mapping[str, float]:
                if encoder.items.weight.device.type == "cpu":
                    return ranking_metrics(self._score_catalog, valid, metrics, filtered)
                return ranking_metrics_on_device(self._score_on_device, valid, metrics, filtered)

        self._train(config.training, module, source, validate)
        self._move_to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def _training_parts(
        self, encoder: SequenceEncoder, train: Histories
    ) -> tuple[nn.Module, BatchSource]:
        """What the training loop trains, and on what."""
        config = self.config
        sampler = make_sampler(config, train)
        return NextItemLoss(encoder, sampler, config.logq), make_windows(config, train, sampler)

    def _score_catalog(self, histories: Histories) -> FloatArray:
        with torch.inference_mode():
            states = self._encode_newest(histories)
            catalog = self._network().item_vectors
            scores: FloatArray = (states @ catalog.T).float().cpu().numpy()
        self._shift_repeats(scores, histories)
        return scores

    def _score_on_device(self, histories: Histories) -> Tensor:
        """``[n, items]`` scores where the network is."""
        network = self._network()
        scores = (self._encode_newest(histories) @ network.item_vectors.T).float()
        if network.repeat_bias is not None:
            newest = histories.last(self.config.max_length)
            pairs = seen_pairs(newest.items, newest.offsets[:-1], newest.lengths)
            rows, items = torch.from_numpy(pairs).to(scores.device)
            scores[rows, items - 1] += network.repeat_bias
        return scores

    def _score_codes(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        with torch.inference_mode():
            states = self._encode_newest(histories)
            wanted = torch.from_numpy(np.maximum(codes.astype(np.int64) - 1, 0)).to(states.device)
            vectors = self._network().items(wanted)
            scores: FloatArray = torch.einsum("nd,ncd->nc", states, vectors).float().cpu().numpy()
        self._shift_repeats(scores, histories, codes)
        return scores

    def _shift_repeats(
        self, scores: FloatArray, histories: Histories, codes: npt.NDArray[np.int32] | None = None
    ) -> None:
        """Add the repeat bias to items of the newest ``max_length`` events, in place.

        Args:
            scores: ``[n, items]``, or ``[n, C]`` for the item codes given.
            histories: ``[n]`` inputs.
            codes: ``[n, C]`` item codes, or None for the whole catalog.
        """
        bias = self._network().repeat_bias
        if bias is None:
            return
        newest = histories.last(self.config.max_length)
        rows, items = seen_pairs(newest.items, newest.offsets[:-1], newest.lengths)
        if codes is None:
            scores[rows, items - 1] += np.float32(float(bias.detach()))
            return
        stride = len(self.vocabulary) + 1
        keys = np.arange(len(codes))[:, None] * stride + codes
        scores[np.isin(keys, rows * stride + items)] += np.float32(float(bias.detach()))

    def _encode_newest(self, histories: Histories) -> Tensor:
        """``[n, d]`` states at the newest event of every history, in blocks of similar length."""
        network = self._network()
        network.eval()
        device = network.items.weight.device
        newest = histories.last(self.config.max_length)
        order = np.argsort(newest.lengths, kind="stable")
        states = torch.empty(len(newest), self.config.dim, device=device)
        for start in range(0, len(order), _ENCODED_AT_ONCE):
            chosen = order[start : start + _ENCODED_AT_ONCE]
            part = newest.take(chosen)
            items = torch.from_numpy(part.items.astype(np.int64)).to(device)
            rows = PackedRows(part.lengths).to(device)
            states[torch.from_numpy(chosen).to(device)] = network(items, rows)[rows.last].float()
        return states

    def _network(self) -> SequenceEncoder:
        assert self._encoder is not None
        return self._encoder

    def _move_to(self, device: torch.device) -> None:
        self._network().to(device)

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        weights = self._network().state_dict()
        return {name: tensor.cpu().numpy() for name, tensor in weights.items()}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self._encoder = SequenceEncoder(self.config, len(self.vocabulary))
        self._encoder.load_state_dict({name: torch.from_numpy(v) for name, v in state.items()})
        self._move_to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def make_windows(
    config: SASRecConfig, train: Histories, sampler: NegativeSampler | None
) -> SequenceWindows:
    """The training rows that the settings ask for.

    Raises:
        ConfigError: A repeat bias is asked for with the sampled softmax.
    """
    if config.repeat_bias and sampler is not None:
        raise ConfigError(
            f"repeat_bias needs the full softmax, but loss=auto samples above "
            f"{_FULL_SOFTMAX_UP_TO:,} items; set loss=full or repeat_bias=false."
        )
    prefixes = config.targets == "prefix"
    return SequenceWindows(train, config.max_length, prefixes, sampler, config.repeat_bias)


def make_sampler(config: SASRecConfig, train: Histories) -> NegativeSampler | None:
    """The source of negatives that the settings ask for; None means the full softmax."""
    n_items = len(train.vocabulary)
    full = config.loss == "full" or (config.loss == "auto" and n_items <= _FULL_SOFTMAX_UP_TO)
    if full:
        return None
    if config.sampler == "uniform":
        return NegativeSampler(config.negatives, np.full(n_items, 1.0 / n_items))
    counts = np.bincount(train.items, minlength=n_items + 1)[1:] + 1.0
    return NegativeSampler(config.negatives, counts / counts.sum())
