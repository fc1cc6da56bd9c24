"""The adapter store: who has which gate weights, and their adapters on demand.

A store is a folder: ``store.json`` (what it was made for), ``experts/`` (a copy of the trained
experts), ``store.sqlite`` (gate weights and the register of adapters) and ``adapters/``
(materialised ones, as many as the byte budget holds). Adapter names are hashes of their content
and are never reused for another content; nothing in a name or a path comes from a user's id.
Gate weights are personal data: :meth:`AdapterStore.forget` removes them and all that was made of
them.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

import llmrec
from llmrec.adapters.adapter_files import AdapterFiles
from llmrec.adapters.bundle import Bundle
from llmrec.adapters.database import Database
from llmrec.adapters.experts import Experts
from llmrec.adapters.gate_table import Array, GateRow, GateTable
from llmrec.adapters.gates import even_gates
from llmrec.adapters.materialise import CONFIG, PlainLora, materialise
from llmrec.adapters.user_keys import UserId, user_key
from llmrec.errors import ArtifactError, ConfigError, UnknownIdError
from llmrec.storage import atomic_directory, read_json

MANIFEST = "store.json"
_FORMAT = 1
_STATES_AT_ONCE = 4096

Found = Literal["user", "centroid", "prior", "even"]


@dataclass(frozen=True)
class Adapter:
    """A materialised adapter.

    Attributes:
        name: Hash of its content; never given to another content.
        path: Folder in peft's layout.
        number: ``name`` as a whole number below 2^63, the same in every process.
        found: Whose weights it has: the user's, those of the user's cluster, the mean of all
            users, or even ones where there are no users.
        version: Version of the user's gate, 0 for a stranger.
        error: Relative error where the rank was cut.
    """

    name: str
    path: Path
    number: int
    found: Found
    version: int
    error: float


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a user did.

    Attributes:
        known: Whether there was a gate of the user.
        removed: Names of the adapters that were deleted.
        in_use: Those of them that were pinned or leased: an engine may still hold their weights
            and must be told to unload these names.
    """

    known: bool
    removed: tuple[str, ...]
    in_use: tuple[str, ...]


class AdapterStore:
    """A folder of gate weights and adapters; make one with :meth:`create`.

    Args:
        folder: The store.
        bundle: What it must have been made for; None checks nothing.

    Raises:
        ArtifactError: It is no store, is damaged, or was made for something else.
    """

    def __init__(self, folder: str | Path, bundle: Bundle | None = None) -> None:
        self.folder = Path(folder)
        about = _read_manifest(self.folder)
        self.bundle = Bundle.from_dict(about["bundle"], str(self.folder / MANIFEST))
        if bundle is not None:
            self.bundle.require(bundle)
        self.experts = Experts.load(self.folder / "experts")
        if self.experts.fingerprint != self.bundle.experts:
            raise ArtifactError(
                f"{self.folder / 'experts'} are not the experts that {MANIFEST} names."
            )
        self.rank: int | None = about["rank"]
        self.dtype: str = about["dtype"]
        database = Database(self.folder / "store.sqlite")
        self._database = database
        self.gates = GateTable(database, self.experts.gate_shape, about["gate_dtype"])
        self.files = AdapterFiles(self.folder / "adapters", database, about["byte_budget"])
        self._found: Counter[str] = Counter()
        self._centroids: Array | None = None
        self.files.sweep()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        experts: Experts,
        bundle: Bundle | None = None,
        *,
        byte_budget: int = 10 << 30,
        gate_dtype: Literal["float16", "float32"] = "float16",
        rank: int | None = None,
        dtype: str = "float32",
    ) -> Self:
        """Make an empty store.

        Args:
            folder: Where; it must not exist, or be empty.
            experts: What was learnt.
            bundle: What adapters depend on; None knows base model and experts only.
            byte_budget: Most bytes of materialised adapters.
            gate_dtype: How gate weights are stored.
            rank: Rank of materialised adapters; None is the exact one.
            dtype: Of their weights.

        Raises:
            ConfigError: The adapters could not be materialised, or the budget is not positive.
            ArtifactError: The folder holds something, or the bundle is of other experts.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise ArtifactError(f"{folder} is not empty; open it, or choose another folder.")
        if byte_budget < 1:
            raise ConfigError(f"byte_budget is {byte_budget}; expected a number above 0.")
        own = Bundle(base_model=experts.base.fingerprint, experts=experts.fingerprint)
        if bundle is not None:
            own.require(bundle)
        even = even_gates(experts.config, experts.n_gates)
        materialise(experts, even, rank, dtype)  # refuses now what would fail at every request
        with atomic_directory(folder, MANIFEST) as temporary:
            experts.save(temporary / "experts")
            about = {
                "format": _FORMAT,
                "llmrec": llmrec.__version__,
                "bundle": (bundle or own).to_dict(),
                "byte_budget": byte_budget,
                "gate_dtype": gate_dtype,
                "rank": rank,
                "dtype": dtype,
            }
            (temporary / MANIFEST).write_text(json.dumps(about, indent=2), encoding="utf-8")
        return cls(folder)

    def put(self, users: Sequence[UserId], gates: npt.ArrayLike, source: str = "gate") -> None:
        """Write gate weights ``[n, gates, blocks]``; see :meth:`GateTable.put`."""
        self.gates.put(users, gates, source)

    def put_states(
        self, users: Sequence[UserId], states: npt.ArrayLike, source: str = "gate"
    ) -> None:
        """Compute and write gate weights from states of users, such as ``CTRModel.user_state``.

        This is all that a refresh after new events takes: no gradient, no language model.

        Args:
            users: Ids.
            states: ``[n, gate_dim]``.
            source: Where they come from, for instance ``refresh``.
        """
        bank = self.experts.gate_bank()
        given = torch.from_numpy(np.asarray(states, dtype=np.float32))
        with torch.inference_mode():
            parts = [bank(given[i : i + _STATES_AT_ONCE]) for i in _starts(len(given))]
        self.put(users, torch.cat(parts).numpy() if parts else np.empty((0, 0, 0)), source)

    def gate(self, user: UserId) -> GateRow | None:
        """What is stored of a user, or None."""
        return self.gates.get(user)

    def weights(self, user: UserId, exact: bool = False) -> tuple[Array, Found, int]:
        """The weights that serve a user: ``[gates, blocks]``, whose they are, and the version.

        A user without weights gets the mean of all users (fixed until
        :meth:`GateTable.fix_prior`), or even weights where there is nobody; both are counted in
        :meth:`stats`.

        Args:
            user: The id.
            exact: The user's own weights even where users are clustered.
        """
        row = self.gates.get(user)
        if row is not None and row.centroid is not None and not exact:
            return self._count(self._centroid(row.centroid), "centroid", row.version)
        if row is not None:
            return self._count(row.gate, "user", row.version)
        prior = self.gates.prior()
        prior = self.gates.fix_prior() if prior is None else prior
        if prior is not None:
            return self._count(prior, "prior", 0)
        even = even_gates(self.experts.config, self.experts.n_gates).numpy()
        return self._count(even, "even", 0)

    def adapter(self, user: UserId, *, exact: bool = False, lease: float = 0.0) -> Adapter:
        """The adapter that serves a user, materialised if it is not there yet.

        Args:
            user: The id; strangers get the prior's adapter.
            exact: The user's own adapter even where users are clustered.
            lease: Seconds for which it is not evicted, to read it in peace.

        Raises:
            StorageError: It does not fit into the byte budget, or the disk is full.
        """
        weights, found, version = self.weights(user, exact)
        name = self.name_of(weights)
        owner = user_key(user) if found == "user" else None
        path, state = self.files.get(name, owner, lambda: self._made(weights), lease)
        number = int(name.removeprefix("lora-")[:16], 16) >> 1
        return Adapter(name, path, number, found, version, state.error)

    def name_of(self, weights: Array) -> str:
        """Name of the adapter with these weights: a hash of everything that is in it."""
        about = f"{self.bundle.version} {self.experts.fingerprint} {self.rank} {self.dtype} "
        hashed = hashlib.sha256(about.encode() + np.ascontiguousarray(weights).tobytes())
        return f"lora-{hashed.hexdigest()[:40]}"

    def pin(self, user: UserId) -> Adapter:
        """Materialise a user's adapter and keep it whatever the budget."""
        adapter = self.adapter(user)
        self.files.pin(adapter.name, True)
        return adapter

    def unpin(self, user: UserId) -> None:
        """Let a user's adapter be evicted again."""
        self.files.pin(self.name_of(self.weights(user)[0]), False)

    def quantise(self, centroids: int, seed: int = 0) -> None:
        """Serve users by the centroid of their cluster (k-means); 0 serves each by their own.

        Disk is then bounded by the number of centroids. New weights join the nearest centroid.
        Adapters of single users, and the prior, are removed and fixed anew.
        """
        self.gates.cluster(centroids, seed)
        self.gates.fix_prior()
        self._centroids = None
        if centroids:
            with self._database.connection() as connection:
                owned = [r[0] for r in connection.execute("SELECT DISTINCT name FROM owners")]
            self.files.remove(owned)

    def export(
        self, user: UserId, folder: str | Path, rank: int | None = None, dtype: str | None = None
    ) -> PlainLora:
        """Write a user's own adapter to a folder of yours, in peft's layout.

        Args:
            user: A known id.
            folder: Where; an adapter there is replaced.
            rank: Its rank; None is the exact one.
            dtype: Of its weights; None is the store's.

        Raises:
            UnknownIdError: The store has no weights of the user.
        """
        row = self.gates.get(user)
        if row is None:
            raise UnknownIdError(f"the store has no gate of user {user!r}; nothing to export.")
        adapter = materialise(self.experts, torch.from_numpy(row.gate), rank, dtype or self.dtype)
        with atomic_directory(folder, CONFIG) as temporary:
            adapter.write(temporary)
        return adapter

    def forget(self, user: UserId) -> Forgotten:
        """Remove a user's weights and all adapters made of them, then rewrite the file.

        What it cannot remove: the little that the user's events changed in the trained experts,
        gates and CTR model, in centroids and in the fixed prior, until these are made anew; and
        what an engine has loaded (see :attr:`Forgotten.in_use`).
        """
        key = user_key(user)
        with self._database.making():
            alone = self.files.owned_alone(key)
            in_use = self.files.leased(alone)
            with self._database.transaction() as connection:
                known = self.gates.delete(connection, user)
                connection.execute("DELETE FROM owners WHERE user = ?", (key,))
            self.files.remove(alone)
            self._database.rewrite()
        return Forgotten(known, tuple(alone), tuple(in_use))

    def stats(self) -> Mapping[str, int]:
        """Users, adapters, bytes, and what this process has served since it opened the store.

        ``prior`` and ``even`` count the requests of strangers.
        """
        names = self.files.names()
        counted = {k: self._found[k] for k in ("user", "centroid", "prior", "even")}
        counted |= {k: self.files.counts[k] for k in ("made", "found", "evicted", "damaged")}
        sizes = {"adapters": len(names), "adapter_bytes": sum(names.values())}
        return {"users": len(self.gates), **sizes, "byte_budget": self.files.budget, **counted}

    def rows(self, limit: int | None = None) -> Iterator[GateRow]:
        """Stored gates, in the order in which users came."""
        return self.gates.rows(limit)

    def _made(self, weights: Array) -> PlainLora:
        given = torch.from_numpy(np.ascontiguousarray(weights))
        return materialise(self.experts, given, self.rank, self.dtype)

    def _count(self, weights: Array, found: Found, version: int) -> tuple[Array, Found, int]:
        self._found[found] += 1
        return weights, found, version

    def _centroid(self, number: int) -> Array:
        if self._centroids is None or number >= len(self._centroids):
            self._centroids = self.gates.centroids()
        found: Array = self._centroids[number]
        return found


def _starts(length: int) -> range:
    return range(0, length, _STATES_AT_ONCE)


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        raise ArtifactError(f"{folder} is not an adapter store: it has no {MANIFEST}.")
    about = read_json(folder / MANIFEST)
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise ArtifactError(f"{folder / MANIFEST}: format {found} is not {_FORMAT}.")
    missing = {"bundle", "byte_budget", "gate_dtype", "rank", "dtype"} - about.keys()
    if missing:
        raise ArtifactError(f"{folder / MANIFEST} lacks {', '.join(sorted(missing))}.")
    return about
