"""The adapter store: who has which gate weights, and their adapters on demand.

A store is a folder: ``store.json`` (what it was made for), ``experts/`` (a copy of the trained
experts), ``store.sqlite`` (gate weights and the register of adapters) and ``adapters/`` (as many
as the byte budget holds). Adapter names are hashes of their content and are never reused for
another content; nothing in a name or a path comes from a user's id. Gate weights are personal
data: :meth:`AdapterStore.forget` removes them and all that was made of them.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from llmrec.adapters.adapter_files import AdapterFiles
from llmrec.adapters.bundle import Bundle
from llmrec.adapters.clusters import Clusters
from llmrec.adapters.database import Database
from llmrec.adapters.experts import Experts
from llmrec.adapters.exporting import export
from llmrec.adapters.forgetting import HalfForgotten, forget
from llmrec.adapters.gate_format import Array, GateFormat
from llmrec.adapters.gate_table import GateRow, GateTable
from llmrec.adapters.gates import even_gates
from llmrec.adapters.issued import Found, IssuedNames
from llmrec.adapters.kept_events import KeptEvents
from llmrec.adapters.materialise import PlainLora, materialise
from llmrec.adapters.pins import Pins
from llmrec.adapters.priors import Priors, shrunk
from llmrec.adapters.served import Served, ServedWeights
from llmrec.adapters.store_answers import Adapter, Forgotten, stats_of
from llmrec.adapters.store_files import (
    EXPERTS,
    Settings,
    create_folder,
    read_folder,
    write_settings,
)
from llmrec.adapters.user_keys import UserId, user_key
from llmrec.errors import ArtifactError, StorageError, UnknownIdError

_TRIES = 3


class AdapterStore:
    """A folder of gate weights and adapters; make one with :meth:`create`.

    Args:
        folder: The store.
        bundle: What it must have been made for; None checks nothing.

    Attributes:
        gates: Weights of users and their versions, to look through and to roll back.
        priors: What serves those who have none.
        events: Events since the training that refreshes brought.
        pins: Who has pinned something.
        half_forgotten: Users to forget again, because it was cut short.
        files: The adapters on disk.

    Raises:
        ArtifactError: It is no store, is damaged, or was made for something else.
    """

    def __init__(self, folder: str | Path, bundle: Bundle | None = None) -> None:
        self.folder = Path(folder)
        self.bundle, self.settings = read_folder(self.folder)
        if bundle is not None:
            self.bundle.require(bundle)
        self.experts = Experts.load(self.folder / EXPERTS)
        if self.experts.fingerprint != self.bundle.experts:
            raise ArtifactError(
                f"{self.folder / EXPERTS} are not the experts that the store was made for."
            )
        form = GateFormat(self.experts.gate_shape, self.settings.gate_dtype)
        database = self._database = Database(self.folder / "store.sqlite")
        self.gates = GateTable(database, form, self.settings.keep_versions)
        self.priors, self.events = Priors(database, form), KeptEvents(database)
        self._clusters = Clusters(database, form)
        self._issued, self.pins = IssuedNames(database), Pins(database)
        self.half_forgotten = HalfForgotten(database)
        self.files = AdapterFiles(
            self.folder / "adapters", database, self.settings.byte_budget, self.settings.ttl
        )
        self._bank = None if self.experts.config.compose == "shared" else self.experts.gate_bank()
        even: Array = even_gates(self.experts.config, self.experts.n_gates).numpy()
        self._even, self._counts = even, Counter[Found]()
        self._lookup = ServedWeights(self.gates, self._clusters, self.priors, even)
        self.files.sweep()

    @classmethod
    def create(
        cls,
        folder: str | Path,
        experts: Experts,
        bundle: Bundle | None = None,
        **settings: Any,
    ) -> Self:
        """Make an empty store.

        Args:
            folder: Where; it must not exist, or be empty.
            experts: What was learnt.
            bundle: What adapters depend on; None knows base model and experts only.
            settings: Fields of :class:`~llmrec.adapters.store_files.Settings`: byte budget, age
                limit, precision, rank, versions kept.

        Raises:
            ConfigError: The adapters could not be materialised, or a setting is unknown or out
                of range.
            ArtifactError: The folder holds something, or the bundle is of other experts.
        """
        chosen = Settings.of(settings)
        even = even_gates(experts.config, experts.n_gates)
        materialise(experts, even, chosen.rank, chosen.dtype)  # what would fail at every request
        create_folder(Path(folder), experts, bundle, chosen)
        return cls(folder)

    def limit(self, *, byte_budget: int | None = None, ttl: float | None = None) -> None:
        """Change limits and evict what is beyond; other processes follow when they open again.

        Args:
            byte_budget: Most bytes; None leaves it.
            ttl: Seconds; None leaves it, 0 keeps adapters whatever their age.
        """
        budget = self.settings.byte_budget if byte_budget is None else byte_budget
        age = self.settings.ttl if ttl is None else ttl or None
        self.settings = self.settings.changed({"byte_budget": budget, "ttl": age})
        write_settings(self.folder, self.bundle, self.settings)
        self.files.budget, self.files.ttl = self.settings.byte_budget, self.settings.ttl
        self.files.shrink()

    def close(self) -> None:
        """Let go of the file in this thread, for instance to move the folder."""
        self._database.close()

    def put(
        self,
        users: Sequence[UserId],
        gates: npt.ArrayLike,
        source: str = "gate",
        events: npt.ArrayLike | None = None,
    ) -> None:
        """Write gate weights; a user who has some gets a new version.

        Args:
            users: Different ids.
            gates: ``[n, gates, blocks]``.
            source: Where they come from.
            events: ``[n]`` events behind each user's weights; with ``prior_events`` set, those of
                users with few are drawn to the mean over users.

        Raises:
            DataError: Shapes do not fit, a weight is not finite, an id is not valid or repeated.
        """
        self.gates.put(users, gates if events is None else self.prepared(gates, events), source)

    def prepared(self, gates: npt.ArrayLike, events: npt.ArrayLike | None) -> Array:
        """Gates ``[n, gates, blocks]`` as :meth:`put` would store them with ``[n]`` events."""
        strength = self.settings.prior_events
        if strength and events is not None:
            towards = self.priors.everybody()
            if towards is None and np.size(gates):  # the first users are drawn to their own mean
                towards = np.asarray(gates, np.float32).mean(0)
            towards = self._even if towards is None else towards
            gates = shrunk(gates, towards, events, strength)
        return np.asarray(gates, self.settings.gate_dtype).astype(np.float32)

    def weights_of(self, states: npt.ArrayLike) -> Array:
        """Gate weights from what gates read of users: ``RecLoRA.gate_inputs``.

        Args:
            states: ``[n, gate_dim]``.

        Returns:
            ``[n, gates, blocks]``.

        Raises:
            ConfigError: The states have another width: they are of another CTR model.
        """
        given = np.asarray(states)
        if self._bank is None or not len(given):
            return np.broadcast_to(self._even, (len(given), *self.experts.gate_shape))
        return self._bank.infer(given)

    def put_states(
        self,
        users: Sequence[UserId],
        states: npt.ArrayLike,
        source: str = "gate",
        events: npt.ArrayLike | None = None,
    ) -> None:
        """:meth:`put` what :meth:`weights_of` finds for ``[n, gate_dim]`` states."""
        self.put(users, self.weights_of(states), source, events)

    def gate(self, user: UserId) -> GateRow | None:
        """What is stored of a user, or None."""
        return self.gates.get(user)

    def weights(self, user: UserId, exact: bool = False) -> Served:
        """The weights that serve a user, and whose they are; counted in :meth:`stats`.

        A user without weights gets those of their profile, else their group's mean, else
        everybody's mean, else even weights (reclora.md 5.2).

        Args:
            user: The id.
            exact: The user's own weights even where users are clustered.
        """
        served = self._lookup.of(user, exact)
        self._counts[served.origin.found] += 1
        return served

    def adapter(self, user: UserId, *, exact: bool = False, lease: float = 0.0) -> Adapter:
        """The adapter that serves a user, materialised if it is not there yet.

        Args:
            user: The id; strangers get a fallback's adapter.
            exact: The user's own adapter even where users are clustered.
            lease: Seconds for which it is not evicted, to read it in peace.

        Raises:
            StorageError: It does not fit into the byte budget, or the disk is full.
        """
        for _ in range(_TRIES):
            served = self.weights(user, exact)
            name = self.name_of(served.weights)
            if not self._issued.add(name, served.origin):
                continue  # the user was forgotten meanwhile
            adapter = self._adapter(name, served, lease, True)
            if adapter is not None:
                return adapter
        raise ArtifactError(
            f"user {user!r} was forgotten {_TRIES} times while the adapter was made; ask again."
        )

    def adapter_named(self, name: str, *, lease: float = 0.0, counted: bool = True) -> Adapter:
        """The adapter of a name that was issued before, made again if its files went.

        Finding it counts in :meth:`stats` unless ``counted`` says that the request was already.

        Raises:
            UnknownIdError: The name is void: never issued, forgotten, or of weights that are not
                kept any more.
            StorageError: As :meth:`adapter`.
        """
        for origin in self._issued.origins(name):
            for weights, version in self._lookup.candidates(origin):
                if self.name_of(weights) != name:
                    continue
                adapter = self._adapter(name, Served(weights, origin, version), lease, counted)
                if adapter is not None:
                    return adapter
        raise UnknownIdError(
            f"adapter {name!r:.80} is void: it was never handed out, was forgotten, or its weights "
            "are not kept any more; ask for the user's present adapter."
        )

    def name_of(self, weights: Array) -> str:
        """Name of the adapter with these weights: a hash of everything that is in it."""
        about = f"{self.bundle.version} {self.settings.rank} {self.settings.dtype} "
        hashed = hashlib.sha256(about.encode() + np.ascontiguousarray(weights).tobytes())
        return f"lora-{hashed.hexdigest()[:40]}"

    def pin(self, user: UserId) -> Adapter:
        """Materialise a user's adapter and keep it whatever the budget; refused as those are."""
        for _ in range(_TRIES):
            adapter = self.adapter(user)
            if self.pins.add(user, adapter.name):
                return adapter  # else it was evicted, or forgotten, in between
        raise StorageError(f"the adapter of user {user!r} does not stay; raise the byte budget.")

    def unpin(self, user: UserId) -> None:
        """Let what was pinned for a user be evicted again, except what others have pinned."""
        present = self.name_of(self._lookup.of(user).weights)
        self.pins.remove(user, [present, *self._issued.of_user(user_key(user))])

    def quantise(self, centroids: int, seed: int = 0) -> None:
        """Serve users by the centroid of their cluster (k-means); 0 serves each by their own.

        Disk is then bounded by the number of centroids. New weights join the nearest centroid.
        Adapters of single users go unless they are in use, and the priors are fixed anew.
        """
        self._clusters.make(centroids, seed)
        self.priors.fix()
        if centroids:
            self.files.remove(self._issued.personal())

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
            ArtifactError: The folder is inside a store, or holds something else.
        """
        kind = dtype or self.settings.dtype
        return export(self.gates, self.experts, user, folder, rank, kind)

    def forget(self, user: UserId) -> Forgotten:
        """Remove a user's weights, events and adapters, then rewrite the file.

        The means that serve strangers are fixed anew without the user: everybody's, and the one of
        the user's group. So is a centroid of the user alone. Their adapters go, too.

        It cannot remove what the events changed in trained weights and in centroids of several,
        until these are made anew, nor what an engine has loaded (:attr:`Forgotten.removed`).

        Raises:
            StorageError: There is no room, or somebody reads the file. Nobody is served what was
                deleted; forget the user again for the rest and for the whole answer.
        """
        parts = self.gates, self.priors, self.events, self._clusters, self._issued, self.pins
        return forget(self._database, *parts, self.files, user)

    def stats(self) -> Mapping[str, int]:
        """Users, adapters, bytes, and what this process has served since it opened the store.

        ``served_*`` count requests by where the weights came from, ``fallbacks`` those of users
        without any; ``found``, ``made``, ``evicted``, ``expired`` and ``damaged`` count adapters.
        """
        return stats_of(len(self.gates), self.files, self._counts)

    def _adapter(self, name: str, served: Served, lease: float, counted: bool) -> Adapter | None:
        """Its files and what is known of them; None where the name became void meanwhile."""
        weights, origin, version = served

        def made() -> PlainLora:
            given = torch.from_numpy(np.ascontiguousarray(weights))
            return materialise(self.experts, given, self.settings.rank, self.settings.dtype)

        found = self.files.get(name, made, lease, partial(self._issued.has, name, origin), counted)
        if found is None:
            return None
        path, state = found
        number = int(name.removeprefix("lora-")[:16], 16) >> 1 or 1
        return Adapter(name, path, number, origin.found, version, state.error)
