"""Approximate nearest neighbours with faiss, for more rows than exact search can look at.

The library is the extra ``faiss``. How many lists are searched (``nprobe``) is set from a measured
recall by :meth:`FaissIndex.tune`. Rows that are all zeros are left out, as the contract of
:class:`~llmrec.contracts.NeighborIndex` says. Which of several rows with equal scores is found is
up to faiss; those found are ordered by the smaller row.
"""

import logging
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from llmrec.contracts import NeighborIndex
from llmrec.errors import ArtifactError, ConfigError, DataError, nearest_name
from llmrec.retrieval.exact import ExactIndex, as_matrix, as_queries, check_k
from llmrec.retrieval.folders import ARRAYS, read_folder, seal
from llmrec.retrieval.recall import RecallSample
from llmrec.storage import atomic_directory

if TYPE_CHECKING:
    from llmrec.contracts import FloatArray

Kind = Literal["flat", "ivf_flat", "ivf_pq", "hnsw"]
MANIFEST = "index.json"
LARGEST_EXACT = 300_000

_DATA = "index.faiss"
_TRAINING_ROWS_PER_LIST = 64
_FEWEST_ROWS_PER_LIST = 39  # below this faiss warns that the k-means is poor
_KMEANS_ROUNDS = 10
_PQ_BITS, _HNSW_LINKS, _HNSW_BUILD = 8, 32, 80
_logger = logging.getLogger(__name__)


class FaissIndex:
    """A faiss index over the rows that have a direction; made by :meth:`build`.

    Args:
        index: The faiss index.
        rows: ``[m]`` row number of every vector in it.
        length: Number of rows, those left out included.
        kind: Which kind of index it is.
        probes: Lists searched per query (IVF) or width of the search (HNSW).
    """

    def __init__(
        self, index: Any, rows: npt.NDArray[np.int64], length: int, kind: Kind, probes: int
    ) -> None:
        self._index, self._rows, self._length = index, rows, length
        self.kind: Kind = kind
        self.probes = probes

    @classmethod
    def build(
        cls,
        vectors: npt.ArrayLike,
        kind: Kind = "ivf_flat",
        *,
        nlist: int | None = None,
        probes: int | None = None,
        pq_bytes: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Build an index.

        Args:
            vectors: ``[n, dim]`` finite numbers, unit rows.
            kind: ``"ivf_flat"`` (k-means lists), ``"ivf_pq"`` (the same, vectors compressed to
                ``pq_bytes``), ``"hnsw"`` (a graph), ``"flat"`` (exact).
            nlist: Lists; None takes the power of two nearest to ``4 sqrt(n)``, and fewer where
                that leaves too few rows for a list.
            probes: Lists searched per query, or width of the search in the graph; None starts
                with a sixteenth of the lists, or 64. :meth:`tune` measures what is needed.
            pq_bytes: Bytes of a compressed vector, a divisor of ``dim``; None takes about
                ``dim / 4``.
            seed: Seed of the k-means.

        Raises:
            ConfigError: faiss is not installed, or a setting is out of range.
            DataError: The vectors are not a finite matrix.
        """
        if kind not in get_args(Kind):
            raise ConfigError(
                f"index kind {kind!r} is unknown{nearest_name(kind, get_args(Kind))}."
            )
        faiss = _library()
        values = as_matrix(vectors, "vectors")
        rows = np.flatnonzero(values.any(axis=1))
        kept = values if rows.size == len(values) else values[rows]
        lists = _check_lists(nlist, rows.size)
        index = faiss.index_factory(
            values.shape[1],
            _factory(kind, lists, _check_bytes(pq_bytes, values.shape[1])),
            faiss.METRIC_INNER_PRODUCT,
        )
        if kind == "hnsw":
            index.hnsw.efConstruction = _HNSW_BUILD
        if kind.startswith("ivf") and rows.size:
            index.cp.seed, index.cp.niter = seed, _KMEANS_ROUNDS
            index.cp.max_points_per_centroid = _TRAINING_ROWS_PER_LIST
            index.cp.min_points_per_centroid = 1
            index.train(kept)
        if rows.size:
            index.add(kept)
        default = 64 if kind == "hnsw" else max(1, lists // 16)
        return cls(index, rows, len(values), kind, _check_probes(probes or default))

    def __len__(self) -> int:
        return self._length

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @property
    def most_probes(self) -> int:
        """From here on more probes change nothing."""
        if self.kind == "flat" or not self._rows.size:
            return 1
        return int(self._rows.size if self.kind == "hnsw" else self._index.nlist)

    def search(self, queries: npt.ArrayLike, k: int) -> "tuple[FloatArray, npt.NDArray[np.int64]]":
        """Find ``k`` good rows of every query; arguments and result as of ``ExactIndex.search``.

        Queries whose lists hold fewer than ``k`` rows look into twice as many, until there are
        enough or no list is left.
        """
        values = as_queries(queries, self.dim)
        check_k(k)
        scores = np.full((len(values), k), -np.inf, dtype=np.float32)
        rows = np.full((len(values), k), -1, dtype=np.int64)
        width = min(k, int(self._rows.size))
        pending = np.flatnonzero(values.any(axis=1) & (width > 0))
        probes = min(self.probes, self.most_probes)
        while pending.size:
            found, ids = self._search(values[pending], width, probes)
            scores[pending, :width], rows[pending, :width] = found, ids
            pending = pending[np.flatnonzero(ids[:, -1] < 0)]
            if probes >= self.most_probes:
                break
            probes = min(2 * probes, self.most_probes)
        return scores, rows

    def _search(
        self, queries: "FloatArray", k: int, probes: int
    ) -> "tuple[FloatArray, npt.NDArray[np.int64]]":
        faiss = _library()
        options: dict[str, Any] = {}
        if self.kind == "hnsw":
            options["params"] = faiss.SearchParametersHNSW(efSearch=max(k, probes))
        elif self.kind != "flat":
            options["params"] = faiss.SearchParametersIVF(nprobe=probes)
        scores, ids = self._index.search(np.ascontiguousarray(queries), k, **options)
        rows = np.where(ids >= 0, self._rows[np.maximum(ids, 0)], -1)
        scores = np.where(ids >= 0, scores, -np.inf).astype(np.float32)
        order = np.lexsort((rows, -scores), axis=1)  # unused slots come last: their score is -inf
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def tune(
        self,
        vectors: npt.ArrayLike,
        recall: float = 0.95,
        k: int = 10,
        sample: int = 1000,
        seed: int = 0,
    ) -> float:
        """Set the fewest probes whose recall on a sample reaches a target.

        Args:
            vectors: ``[n, dim]``: what the index was built on.
            recall: The target, from 0 to 1.
            k: Neighbours of every sampled row, itself not counted.
            sample: Rows drawn as queries; fewer where there are fewer.
            seed: Seed of the draw.

        Returns:
            The recall reached. It may stay below the target (compressed vectors, a graph): a
            warning says so, and the most probes are set.

        Raises:
            DataError: The vectors are not those the index was built on.
            ConfigError: The target is no share.
        """
        if not 0 < recall <= 1:
            raise ConfigError(f"recall is {recall}; it is a share above 0.")
        values = as_matrix(vectors, "vectors")
        if values.shape != (len(self), self.dim):
            raise DataError(
                f"vectors are {values.shape}, the index was built on {(len(self), self.dim)}."
            )
        truth = RecallSample.draw(values, k, sample, seed)

        def measured(probes: int) -> float:
            self.probes = probes
            return truth.recall(self)

        self.probes, reached = _fewest(measured, recall, self.most_probes)
        if reached < recall:
            _logger.warning("recall stays at %.4f with %d probes", reached, self.probes)
        return reached

    def save(self, directory: str | Path) -> None:
        """Write the index and a manifest with its hash."""
        faiss = _library()
        with atomic_directory(directory, MANIFEST) as folder:
            faiss.write_index(self._index, str(folder / _DATA))
            save_file({"rows": self._rows}, folder / ARRAYS)
            facts = {"kind": self.kind, "length": self._length, "probes": self.probes}
            seal(folder, MANIFEST, facts)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: The directory holds something else or was changed.
            ConfigError: faiss is not installed.
        """
        faiss = _library()
        facts, arrays = read_folder(directory, MANIFEST)
        index, rows = faiss.read_index(str(Path(directory) / _DATA)), arrays["rows"]
        if len(rows) != index.ntotal:
            raise ArtifactError(f"{directory}: {len(rows)} row numbers for {index.ntotal} vectors.")
        return cls(index, rows, facts["length"], facts["kind"], facts["probes"])


def neighbor_index(vectors: npt.ArrayLike, largest_exact: int = LARGEST_EXACT) -> NeighborIndex:
    """Choose an index by size: exact as long as that is cheap, then faiss where it is installed.

    Exact search runs on a GPU where torch sees one.

    Args:
        vectors: ``[n, dim]`` finite numbers, unit rows.
        largest_exact: Most rows for which exact search is used.
    """
    values = as_matrix(vectors, "vectors")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if len(values) <= largest_exact:
        return ExactIndex(values, device)
    if find_spec("faiss") is None:
        _logger.warning(
            "exact search over %d rows will take long; pip install 'llmrec[faiss]'", len(values)
        )
        return ExactIndex(values, device)
    index = FaissIndex.build(values)
    reached = index.tune(values)
    _logger.info("faiss: %d probes, recall %.4f on a sample", index.probes, reached)
    return index


def _library() -> Any:
    if find_spec("faiss") is None:
        raise ConfigError(
            "approximate search needs faiss: pip install 'llmrec[faiss]'; ExactIndex works "
            "without it."
        )
    import faiss

    return faiss


def _factory(kind: Kind, lists: int, pq_bytes: int) -> str:
    return {
        "flat": "Flat",
        "hnsw": f"HNSW{_HNSW_LINKS},Flat",
        "ivf_flat": f"IVF{lists},Flat",
        "ivf_pq": f"IVF{lists},PQ{pq_bytes}",
    }[kind]


def _check_lists(nlist: int | None, n: int) -> int:
    if nlist is None:
        by_size = 1 << round(math.log2(4 * math.sqrt(max(n, 1))))
        return max(1, min(by_size, n // _FEWEST_ROWS_PER_LIST))
    if not 1 <= nlist <= max(n, 1):
        raise ConfigError(f"nlist is {nlist}; it must lie between 1 and the {n} rows.")
    return nlist


def _check_bytes(pq_bytes: int | None, dim: int) -> int:
    if pq_bytes is None:
        return max(size for size in range(1, max(2, dim // 4 + 1)) if dim % size == 0)
    if pq_bytes < 1 or dim % pq_bytes:
        raise ConfigError(f"pq_bytes is {pq_bytes}; it must divide the dimension {dim}.")
    return pq_bytes


def _check_probes(probes: int) -> int:
    if probes < 1:
        raise ConfigError(f"probes is {probes}; it must be at least 1.")
    return probes


def _fewest(measured: Callable[[int], float], target: float, most: int) -> tuple[int, float]:
    """The fewest probes that reach a target, to a sixteenth, and what they reach."""
    low, high = 0, 1
    while (reached := measured(high)) < target and high < most:
        low, high = high, min(2 * high, most)
    while reached >= target and high - low > max(1, high // 16):
        middle = (low + high) // 2
        if (found := measured(middle)) >= target:
            high, reached = middle, found
        else:
            low = middle
    return high, reached
