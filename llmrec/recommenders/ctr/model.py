"""What CTR models share: training on judged pairs, scoring pairs, and the two gate inputs.

A pair is judged from the user, the events strictly before it and the item; labels of the pair
never enter. ``user_state`` and ``instance_state`` are always computed in evaluation mode and
without gradient, so that what a gate sees in training is what it sees in serving. User ids are
kept as 64-bit hashes apart from the weights; a user who is not known has the zero vector, and an
empty history is scored from the item alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.catalog import Catalog
from llmrec.data.hashing import hash_arrays, hash_json
from llmrec.data.histories import Histories
from llmrec.data.splits import Cases, LabelledCases
from llmrec.data.vocabulary import Ids
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.monitoring import pair_metrics, ranking_metrics
from llmrec.recommenders.base import FloatArray
from llmrec.recommenders.catalogs import require_items_of
from llmrec.recommenders.ctr.config import STATISTICS, CTRConfig
from llmrec.recommenders.ctr.features import (
    EventTable,
    Feedback,
    PairBatch,
    category_table,
    number_table,
)
from llmrec.recommenders.ctr.network import PairLoss, PairNetwork, Sizes, module_key
from llmrec.recommenders.ctr.pairs import TrainingPairs, early_part, require_codes
from llmrec.recommenders.ctr.users import UserCodes
from llmrec.recommenders.ctr.watched import require_metric
from llmrec.recommenders.trained import TrainedRecommender
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Validate

ConfigT = TypeVar("ConfigT", bound=CTRConfig)

_PAIRS_AT_ONCE = 4096
_USERS_AT_ONCE = 1024
_USER_WEIGHT = "network.user.users.weight"


class CTRModel(TrainedRecommender[ConfigT]):
    """A recommender that judges user-item pairs.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of the config class.
    """

    scores_empty_histories: ClassVar[bool] = True

    _catalog: Catalog | None = None
    _judged: LabelledCases | None = None
    _net: PairNetwork | None = None
    _feedback = Feedback(np.empty(0, dtype=np.float32), 0.0, 1.0)
    _users = UserCodes(np.empty(0, dtype=np.uint64))

    def use_catalog(self, catalog: Catalog) -> Self:
        """Read the fields that describe items from a catalog."""
        self._catalog = catalog
        return super().use_catalog(catalog)

    def use_judged(self, valid: LabelledCases) -> Self:
        """Stop early by the AUC on these pairs."""
        self._judged = valid
        return self

    @property
    def user_dim(self) -> int:
        """Width of :meth:`user_state`."""
        self._require_fitted()
        return self._network().user_dim

    @property
    def instance_dim(self) -> int:
        """Width of :meth:`instance_state`."""
        self._require_fitted()
        return self._network().instance_dim

    @property
    def trained_until(self) -> int | None:
        """Unix seconds before which every event lies that was learnt from.

        None where all training events were; then nothing in them is new to this model.
        """
        found = self.details.get("trained_until")
        return None if found is None else int(found)

    @property
    def fingerprint(self) -> str:
        """Hash of class, settings, items and weights, 16 hexadecimal digits.

        Of the settings those that differ from their defaults, without how it was trained: what
        the weights do not tell already, and nothing that a further setting would change.
        """
        self._require_fitted()
        weights = {**self._state(), **self._personal_state()}
        settings = self.config.model_dump(mode="json", exclude={"training"}, exclude_defaults=True)
        known = [self.name, settings, self.vocabulary.fingerprint, hash_arrays(weights)]
        return hash_json(known)[:16]

    def user_state(self, histories: Histories) -> FloatArray:
        """What is known of users apart from any item: ``[n, user_dim]`` float32.

        The first of the two inputs of a gate; it can be computed before a target is known.
        """
        histories = self._checked(histories)
        table, rows = self._table(histories), np.arange(len(histories))
        found = np.empty((len(histories), self.user_dim), dtype=np.float32)
        none = np.empty(0, dtype=np.int64)
        network = self._network()
        for start in range(0, len(histories), _USERS_AT_ONCE):
            part = rows[start : start + _USERS_AT_ONCE]
            batch = table.batch(part, table.offsets[part + 1], none, none)
            with torch.inference_mode():
                found[part] = network.user_state(batch.to(self._device())).cpu().numpy()
        return found

    def instance_state(self, histories: Histories, targets: Ids) -> FloatArray:
        """The last hidden layer for user, history and target: ``[n, instance_dim]`` float32.

        Args:
            histories: ``[n]``.
            targets: ``[n]`` item ids.

        Raises:
            UnknownIdError: A target is not in the vocabulary.
            DataError: There is not one target per history.
        """
        codes = self._targets(histories, self.vocabulary.encode(targets))
        found = np.empty((len(histories), self.instance_dim), dtype=np.float32)
        for rows, batch in self._pair_batches(self._checked(histories), codes[:, None]):
            with torch.inference_mode():
                found[rows] = self._network().instance_state(batch).cpu().numpy()
        return found

    def score_pairs(self, histories: Histories, items: npt.NDArray[np.int32]) -> FloatArray:
        """Probability that item code ``items[i]`` is liked after history ``i``: ``[n]``."""
        codes = self._targets(histories, items)[:, None]
        odds = self._score_codes(self._checked(histories), codes)[:, 0]
        return np.asarray(1 / (1 + np.exp(-odds.astype(np.float64))), dtype=np.float32)

    def _targets(self, histories: Histories, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        if codes.shape != (len(histories),):
            raise DataError(f"{codes.size} targets were given for {len(histories)} histories.")
        require_codes(codes, len(self.vocabulary))
        return codes

    # ---- training ----

    @abstractmethod
    def _make_network(self, sizes: Sizes) -> PairNetwork:
        """The network of a class of models, with fresh weights."""

    def _fit(self, train: Histories, valid: Cases | None) -> None:
        config = self.config
        require_metric(config.training.metric, self._judged, valid, self.name)
        until, train = early_part(train, config.train_share)  # nothing is fitted on later events
        tables = self._tables(train, self._catalog)
        similar = self._similar(train, self._catalog)
        feedback = Feedback.fit(train, config.feedback)
        reads_users = any(field.kind == "user" for field in config.fields)
        users = UserCodes.of(train.user_ids) if reads_users else UserCodes.nobody()
        table = self._event_table(train, feedback, users)
        source = TrainingPairs(train, table, config)
        validate = self._validation(valid)
        seed_everything(config.training.seed)
        n_items = len(train.vocabulary)
        sizes = Sizes(len(users), n_items, feedback.levels.size, tables, similar)
        network = self._make_network(sizes)
        self._net, self._feedback, self._users = network, feedback, users
        self.details["trained_until"] = until
        self._train(config.training, PairLoss(network), source, validate)
        self._to_device()

    def _tables(self, train: Histories, catalog: Catalog | None) -> dict[str, Tensor]:
        """What the fields on catalog columns say of every item."""
        wanted = [f for f in self.config.fields if f.kind in ("category", "categories", "number")]
        if not wanted:
            return {}
        if catalog is None:
            raise ConfigError(
                f"{self.name}: field {wanted[0].name!r} is about the catalog; call use_catalog "
                "before fit."
            )
        require_items_of(catalog, train.vocabulary, self.name)
        made = {
            f.name: (number_table if f.kind == "number" else category_table)(catalog, f)
            for f in wanted
        }
        return {name: torch.from_numpy(table) for name, table in made.items()}

    def _similar(self, train: Histories, catalog: Catalog | None) -> Tensor | None:
        """Vectors ``[items + 1, d]`` by which events are searched, where they are."""
        return None

    def _validation(self, valid: Cases | None) -> Validate | None:
        metric = self.config.training.metric
        judged = self._judged
        if judged is not None:
            return lambda: self._judge(judged)
        if valid is None:
            return None
        return lambda: ranking_metrics(self._score_catalog, valid, [metric])

    def _judge(self, cases: LabelledCases) -> dict[str, float]:
        histories = cases.histories.with_vocabulary(self.vocabulary)
        items = self.vocabulary.encode(cases.histories.vocabulary.decode(cases.items))
        found = self.score_pairs(histories, items)
        users = cases.histories.user_ids.rank("dense").to_numpy() - 1
        return pair_metrics(users, cases.labels, found)

    # ---- scoring ----

    def _score_catalog(self, histories: Histories) -> FloatArray:
        everything = np.arange(1, len(self.vocabulary) + 1, dtype=np.int32)
        return self._score_codes(histories, np.tile(everything, (len(histories), 1)))

    def _score_codes(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        odds = np.empty(codes.size, dtype=np.float32)
        for part, batch in self._pair_batches(histories, codes):
            with torch.inference_mode():
                odds[part] = self._network()(batch).cpu().numpy()
        return odds.reshape(codes.shape)

    def _pair_batches(
        self, histories: Histories, codes: npt.NDArray[np.int32]
    ) -> Iterator[tuple[slice, PairBatch]]:
        """Pairs of every history with its candidates ``[n, C]``, flat and in parts."""
        table = self._table(histories)
        owners = np.repeat(np.arange(len(histories)), codes.shape[1])
        items = codes.ravel().astype(np.int64)
        for start in range(0, items.size, _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            different, rows = np.unique(owners[part], return_inverse=True)
            ends = table.offsets[different + 1]
            yield part, table.batch(different, ends, rows, items[part]).to(self._device())

    def _table(self, histories: Histories) -> EventTable:
        return self._event_table(histories, self._feedback, self._users)

    def _event_table(
        self, histories: Histories, feedback: Feedback, users: UserCodes
    ) -> EventTable:
        kinds = [field.kind for field in self.config.fields if field.kind in STATISTICS]
        codes = users.encode(histories.user_ids)
        return EventTable(histories, feedback, codes, kinds, self.config.history)

    def _network(self) -> PairNetwork:
        """The network in evaluation mode."""
        assert self._net is not None
        return self._net.eval()

    def _device(self) -> torch.device:
        return next(self._network().parameters()).device

    def _to_device(self) -> None:
        self._network().to("cuda" if torch.cuda.is_available() else "cpu")

    # ---- saving ----

    def _state(self) -> dict[str, npt.NDArray[Any]]:
        state = self._weights()
        state.pop(_USER_WEIGHT, None)
        state["feedback.levels"] = self._feedback.levels
        state["feedback.scale"] = np.array([self._feedback.mean, self._feedback.deviation])
        return state

    def _personal_state(self) -> dict[str, npt.NDArray[Any]]:
        weights = self._weights()
        if _USER_WEIGHT not in weights:
            return {}
        return {_USER_WEIGHT: weights[_USER_WEIGHT], "user_keys": self._users.keys}

    def _load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        values = {name: torch.from_numpy(array) for name, array in state.items()}
        levels = values.pop("feedback.levels").numpy()
        mean, deviation = values.pop("feedback.scale").tolist()
        self._feedback = Feedback(levels, mean, deviation)
        keys = values.pop("user_keys", torch.empty(0, dtype=torch.uint64)).numpy()
        self._users = UserCodes(keys)
        weights = {name.removeprefix("network."): value for name, value in values.items()}
        places = {f.name: f"items.table_{module_key(f.name)}" for f in self.config.fields}
        tables = {name: weights[place] for name, place in places.items() if place in weights}
        similar = weights.get("similar")
        sizes = Sizes(len(keys), len(self.vocabulary), levels.size, tables, similar)
        self._net = self._make_network(sizes)
        self._net.load_state_dict(weights, strict=False)  # without users, theirs are missing
        self._to_device()

    def _weights(self) -> dict[str, npt.NDArray[Any]]:
        weights = self._network().state_dict()
        return {f"network.{name}": tensor.cpu().numpy() for name, tensor in weights.items()}
