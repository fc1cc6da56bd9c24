"""One user's own adapter as a folder of somebody else's."""

from pathlib import Path

import torch

from llmrec.adapters.experts import Experts
from llmrec.adapters.gate_table import GateTable
from llmrec.adapters.materialise import CONFIG, PlainLora, materialise
from llmrec.adapters.store_files import MANIFEST
from llmrec.adapters.user_keys import UserId
from llmrec.errors import ArtifactError, UnknownIdError
from llmrec.storage import atomic_directory


def export(
    gates: GateTable,
    experts: Experts,
    user: UserId,
    folder: str | Path,
    rank: int | None,
    dtype: str,
) -> PlainLora:
    """See :meth:`llmrec.adapters.store.AdapterStore.export`; the parts are the store's.

    A folder inside a store is the store's own: what it did not make is swept away, and what it
    made would be replaced.
    """
    place = Path(folder).resolve()
    for above in (place, *place.parents):
        if (above / MANIFEST).is_file():
            raise ArtifactError(f"{folder} is inside the adapter store {above}; choose another.")
    row = gates.get(user)
    if row is None:
        raise UnknownIdError(f"the store has no gate of user {user!r}; nothing to export.")
    adapter = materialise(experts, torch.from_numpy(row.gate), rank, dtype)
    with atomic_directory(folder, CONFIG) as temporary:
        adapter.write(temporary)
    return adapter
