"""An adapter store with the gates of everybody whom a model knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.adapters.refresh import require_drawn_once
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.store_files import MANIFEST, require_new_folder
from llmrec.adapters.user_keys import user_key
from llmrec.storage import atomic_directory

if TYPE_CHECKING:
    from llmrec.recommenders.reclora.model import RecLoRA


def filled_store(model: "RecLoRA", folder: str | Path, options: Mapping[str, Any]) -> AdapterStore:
    """See :meth:`llmrec.recommenders.reclora.model.RecLoRA.make_store`.

    What can be refused is refused before there is a folder, and broken off it leaves none.
    """
    known = model.known_histories
    require_drawn_once(model, options.get("prior_events", 0))
    if known is not None:
        for user in known.user_ids.to_list():
            user_key(user)
        model.gate_inputs(known.block(0, 1))
    folder = Path(folder)
    require_new_folder(folder)
    with atomic_directory(folder, MANIFEST) as place:
        store = AdapterStore.create(place, model.experts(), model.bundle, **options)
        # strangers get what the model gives them, and few events are drawn to the same
        learnt_of = model.details["rows"] if known is None else len(known)
        store.priors.fix_everybody_at(model.ranker.prior, learnt_of)
        if known is not None:
            for _, block in model._blocks(known):
                store.put(block.user_ids.to_list(), model.gates(block), events=block.lengths)
        store.close()
    return AdapterStore(folder)
