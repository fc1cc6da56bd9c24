"""SIM (Pi et al. 2020): search a long history for what is like the target, then attend to it.

The exact search unit is DIN's attention; it sees only the events that the search found, in time
order. The state of the user is still the mean of the whole history.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.catalogs import require_items_of
from llmrec.recommenders.ctr.config import SIMConfig
from llmrec.recommenders.ctr.din import DINNetwork
from llmrec.recommenders.ctr.features import PairBatch
from llmrec.recommenders.ctr.model import CTRModel
from llmrec.recommenders.ctr.network import PairNetwork, Sizes
from llmrec.recommenders.ctr.search import (
    co_occurrence_vectors,
    most_similar,
    text_vectors,
    unit_rows,
)


class SIMNetwork(DINNetwork):
    """DIN that attends to what a search found.

    Args:
        config: Settings.
        sizes: Numbers of values, and the vectors of the search.
    """

    def __init__(self, config: SIMConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self._found = config.found
        self.similar: Tensor
        self.register_buffer("similar", sizes.similar)

    def _chosen(self, batch: PairBatch, events: Tensor) -> tuple[Tensor, Tensor]:
        found = most_similar(self.similar, batch.history, batch.items, batch.rows, self._found)
        rows = batch.rows.unsqueeze(1)
        return events[rows, found], batch.history[rows, found] > 0


class SIM(CTRModel[SIMConfig]):
    """Search-based interest model.

    Example:
        >>> from llmrec.data.simulator import simulate
        >>> from llmrec.data import leave_one_out
        >>> split = leave_one_out(simulate("simulate:tiny@1").dataset)
        >>> model = SIM(dim=4, found=5, training={"epochs": 1}).fit(split.train_histories())
        >>> histories = split.cases("test").histories
        >>> targets = model.vocabulary.ids[:1].gather([0] * len(histories))
        >>> model.instance_state(histories, targets).shape == (len(histories), 32)
        True
    """

    name = "sim"
    config_class = SIMConfig

    def __init__(self, config: SIMConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._given: npt.NDArray[np.float32] | None = None

    def use_vectors(self, vectors: npt.ArrayLike) -> Self:
        """Search by these vectors of items, ``[items, d]`` in the order of the vocabulary."""
        self._given = np.asarray(vectors, dtype=np.float32)
        return self

    def _make_network(self, sizes: Sizes) -> PairNetwork:
        return SIMNetwork(self.config, sizes)

    def _similar(self, train: Histories, catalog: Catalog | None) -> Tensor:
        return torch.from_numpy(self._vectors_of(train, catalog))

    def _vectors_of(self, train: Histories, catalog: Catalog | None) -> npt.NDArray[np.float32]:
        n_items = len(train.vocabulary)
        if self._given is not None:
            if self._given.ndim != 2 or len(self._given) != n_items:
                raise DataError(
                    f"use_vectors was given an array of shape {self._given.shape}, but there are "
                    f"{n_items} items; give one row per item."
                )
            return unit_rows(np.concatenate([np.zeros_like(self._given[:1]), self._given]))
        if self.config.similarity == "co_occurrence":
            return co_occurrence_vectors(train, self.config.similarity_dim)
        if catalog is None:
            raise ConfigError("similarity=text needs use_catalog before fit.")
        require_items_of(catalog, train.vocabulary, self.name)
        return text_vectors(catalog)
