"""LOS-Net as a risk model: fit, predict, fine-tune, save.

Risk is the probability that an answer is wrong (``task="correctness"``) or that a text was in the
training data (``task="membership"``); label 1 always means risk. The networks see columns of
numbers, never tokens or texts. Records of another mode, kind or tokenizer than those of training
are refused, and so are fewer columns than were trained on, unless training drew their number.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net import artifacts
from llmrec.signatures.los_net.batches import Inputs, SignatureBatches
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.config import LOSNetConfig, Normaliser, make_config
from llmrec.signatures.los_net.holdout import checked_labels, hold_out
from llmrec.signatures.los_net.loss import RiskLoss, balance, mean_loss
from llmrec.signatures.los_net.network import LOSNetwork
from llmrec.signatures.los_net.origins import (
    OnMismatch,
    Origin,
    check_origins,
    origins_of,
    report,
)
from llmrec.signatures.los_net.scoring import logits_of
from llmrec.training.config import TrainingConfig
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer

FloatArray = npt.NDArray[np.float32]
Records = Sequence[SignatureRecord]
Labelled = tuple[Records, npt.ArrayLike]


class LOSNet:
    """A detector that learns from output signatures; a :class:`~llmrec.contracts.RiskScorer`.

    Args:
        config: Settings, or None to give them as keyword arguments.
        options: Fields of :class:`~llmrec.signatures.los_net.config.LOSNetConfig`.

    Attributes:
        log: Rows of the training log, those of every member, after fitting.
        origins: The sources it was trained on.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(60, seed=0)
        >>> model = LOSNet(k=5, hidden=16, training={"epochs": 2}).fit(records, labels)
        >>> model.predict_risk(records).shape
        (60,)
    """

    def __init__(self, config: LOSNetConfig | None = None, **options: Any) -> None:
        if config is not None and options:
            raise ConfigError("give either config or its fields as keyword arguments, not both.")
        self.config = config if config is not None else make_config(options)
        self.log: list[dict[str, Any]] = []
        self.origins: tuple[Origin, ...] = ()
        self._networks: list[LOSNetwork] = []
        self._shift = 0.0
        self._vocab_size: int | None = None

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to predict with."""
        return bool(self._networks)

    @property
    def networks(self) -> Sequence[LOSNetwork]:
        """The networks of a fitted model, one per member.

        Raises:
            ConfigError: It is not fitted.
        """
        if not self._networks:
            raise ConfigError("this LOSNet is not fitted; call fit or from_pretrained first.")
        return tuple(self._networks)

    @property
    def shift(self) -> float:
        """What balanced training added to every logit; predictions take it off again."""
        return self._shift

    @property
    def n_parameters(self) -> int:
        """Trained numbers of one member."""
        return sum(parameter.numel() for parameter in self.networks[0].parameters())

    # ---- training ----

    def fit(
        self,
        records: Records,
        labels: npt.ArrayLike,
        groups: Sequence[Hashable] | None = None,
        validation: Labelled | None = None,
    ) -> Self:
        """Learn from labelled records.

        Args:
            records: Signatures; their number of columns may differ.
            labels: ``[n]`` 1 for risk: a wrong answer, or a text that was trained on.
            groups: A question, subject or document for each record: the records held out to choose
                the weights share none with the others.
            validation: Records and labels to choose the weights by, instead of holding some out.

        Raises:
            DataError: Labels or groups do not fit the records, there is one label only, or the
                records lack what the normaliser needs.
        """
        given = checked_labels(labels, len(records))
        if validation is None:
            learn, held = hold_out(
                given, groups, self.config.validation_share, self.config.training.seed
            )
            train = ([records[i] for i in learn], given[learn])
            validation = ([records[i] for i in held], given[held])
        else:
            train = (list(records), given)
        self._vocab_size = self._common_vocabulary(records)
        sources = [self._batches(*train), self._batches(*validation)]
        checked_labels(sources[1].labels, len(sources[1]))
        self.origins = origins_of(records, self.config.fingerprint_policy)
        self._train(sources[0], sources[1], self.config.training, None)
        return self

    def fine_tune(
        self,
        records: Records,
        labels: npt.ArrayLike,
        *,
        epochs: int = 10,
        learning_rate: float = 1e-4,
        batch_size: int = 16,
    ) -> "LOSNet":
        """A copy of the model that has learned some more, from a few labels of another source.

        All records are learned from and the last weights are kept: a few hundred labels are too
        few to choose an epoch by. The scale encoding of ranks carries over to any vocabulary.

        Args:
            records: Signatures of the new source.
            labels: ``[n]`` 1 for risk.
            epochs: Passes over the records.
            learning_rate: At its peak; it falls to zero.
            batch_size: Records per step.

        Raises:
            DataError: As for :meth:`fit`.
            ConfigError: The model is not fitted.
        """
        given = checked_labels(labels, len(records))
        tuned = LOSNet(self.config)
        tuned._vocab_size = self._vocab_size
        tuned._check_vocabulary(records)
        tuned.origins = origins_of(records, self.config.fingerprint_policy)
        changed = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
        training = self.config.training.model_copy(update=changed)
        tuned._train(self._batches(records, given), None, training, self.networks)
        return tuned

    def _train(
        self,
        train: SignatureBatches,
        valid: SignatureBatches | None,
        training: TrainingConfig,
        start: Sequence[LOSNetwork] | None,
    ) -> None:
        """Train every member, from random weights or from those of ``start``."""
        weight, shift = balance(train.labels, self.config.balanced)
        steps = training.epochs * -(-len(train) // training.batch_size)
        warmup = training.warmup_steps or int(self.config.warmup_share * steps)
        trained, log = [], []
        for member in range(self.config.members):
            seed = training.seed + member
            settings = training.model_copy(update={"seed": seed, "warmup_steps": warmup})
            seed_everything(seed)
            network = LOSNetwork(self.config, self._vocab_size)
            if start is None:
                network.set_channel_scales(Inputs.of(train.features).channels)
            else:
                network.load_state_dict(start[member].state_dict())

            def validate(network: LOSNetwork = network) -> Mapping[str, float]:
                assert valid is not None
                return _judged(logits_of(network, valid), valid.labels)

            trainer = Trainer(settings, progress_bar=None)
            rows = trainer.fit(RiskLoss(network, weight), train, validate if valid else None)
            log += [{"member": member, **row} for row in rows]
            trained.append(network.eval())
        self._networks, self._shift, self.log = trained, shift, log

    # ---- scoring ----

    def predict_risk(
        self,
        records: Records,
        *,
        normaliser: Normaliser | None = None,
        on_mismatch: OnMismatch = "error",
    ) -> FloatArray:
        """Probability of risk: ``[n]`` float32 between 0 and 1.

        Args:
            records: Signatures, of any length; one without positions has a risk too.
            normaliser: Instead of the one trained with; ``full_approx`` lets a model trained with
                ``full`` read records of the best values only. Warns.
            on_mismatch: What to do with records unlike those of training.

        Raises:
            DataError: Records are unlike those of training, or lack what the normaliser needs.
        """
        logits = self.predict_logit(records, normaliser=normaliser, on_mismatch=on_mismatch)
        return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))), dtype=np.float32)

    def predict_logit(
        self,
        records: Records,
        *,
        normaliser: Normaliser | None = None,
        on_mismatch: OnMismatch = "error",
    ) -> FloatArray:
        """Log-odds of risk: ``[n]`` float32; arguments as for :meth:`predict_risk`."""
        networks = self.networks
        source = self.checked_batches(records, normaliser=normaliser, on_mismatch=on_mismatch)
        logits = np.mean([logits_of(network, source) for network in networks], axis=0)
        return np.asarray(logits - self._shift, dtype=np.float32)

    def checked_batches(
        self,
        records: Records,
        *,
        normaliser: Normaliser | None = None,
        on_mismatch: OnMismatch = "error",
    ) -> SignatureBatches:
        """Records as the networks read them, refused where they are unlike those of training."""
        config = self.config
        self._check_vocabulary(records)
        given = origins_of(records, config.fingerprint_policy)
        check_origins(self.origins, given, on_mismatch)
        if normaliser is not None and normaliser != config.normaliser:
            report(
                f"the model was trained with normaliser={config.normaliser}, not {normaliser}",
                "leave normaliser out",
                "warn",
            )
        least = min((record.k for record in records), default=config.k)
        if least < config.k and not config.random_k:
            report(
                f"records hold {least} values per position and the model was trained on {config.k}",
                "train with random_k=true, or with a smaller k",
                on_mismatch,
            )
        return self._batches(records, None, normaliser)

    def _batches(
        self,
        records: Records,
        labels: npt.ArrayLike | None,
        normaliser: Normaliser | None = None,
    ) -> SignatureBatches:
        columns = columns_of(records, self.config.k)
        return SignatureBatches(columns, self.config, labels, normaliser)

    def _common_vocabulary(self, records: Records) -> int | None:
        """Width of the logits where the rank encoding needs one, else None."""
        if self.config.rank_encoding == "scale":
            return None
        sizes = sorted({record.vocab_size or 0 for record in records})
        if len(sizes) != 1:
            raise DataError(
                f"rank_encoding=one_hot needs one vocabulary, and records have {sizes}; use "
                "rank_encoding=scale."
            )
        return sizes[0]

    def _check_vocabulary(self, records: Records) -> None:
        if self._vocab_size is None or not records:
            return
        size = self._common_vocabulary(records)
        if size != self._vocab_size:
            raise DataError(
                f"the one-hot rank encoding is bound to {self._vocab_size} tokens, and the records "
                f"have {size}; train with rank_encoding=scale to go from model to model."
            )

    # ---- saving ----

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the model to a directory, whole or not at all.

        Raises:
            ConfigError: It is not fitted.
            ArtifactError: The directory exists and is something else.
        """
        state = artifacts.State(
            self.config,
            {f"{i}.{name}": t for i, n in enumerate(self.networks) for name, t in _state(n)},
            self.origins,
            self._shift,
            self._vocab_size,
            self.log,
        )
        artifacts.save(state, directory)

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Self:
        """Read a model from a directory.

        Raises:
            ArtifactError: It is missing, incomplete, changed, or of another kind.
        """
        state = artifacts.load(name)
        model = cls(state.config)
        model.origins, model.log = state.origins, state.log
        model._shift, model._vocab_size = state.shift, state.vocab_size
        for member in range(state.config.members):
            network = LOSNetwork(state.config, state.vocab_size)
            mark = f"{member}."
            own = {n.removeprefix(mark): t for n, t in state.weights.items() if n.startswith(mark)}
            artifacts.put_in(network, own, name)
            model._networks.append(network.eval())
        return model


def _judged(logits: FloatArray, labels: FloatArray) -> dict[str, float]:
    return {"auc": auc(labels, logits), "neg_logloss": -mean_loss(logits, labels)}


def _state(network: LOSNetwork) -> list[tuple[str, torch.Tensor]]:
    return [(name, t.detach().cpu().contiguous()) for name, t in network.state_dict().items()]
