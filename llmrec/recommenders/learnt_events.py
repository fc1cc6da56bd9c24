"""Which events a training learns, as a hash, so that it is gone on with on the same ones only."""

import hashlib

from llmrec.data.hashing import hash_arrays, hash_series
from llmrec.data.histories import Histories


def events_hash(train: Histories) -> str:
    """Of users, items and what is known of every event, in order; 16 hexadecimal digits."""
    given = {"times": train.times, "ratings": train.ratings, "labels": train.labels}
    known = {name: values for name, values in given.items() if values is not None}
    arrays = {"items": train.items, "offsets": train.offsets, **known}
    about = hash_series(train.user_ids) + hash_series(train.vocabulary.ids) + hash_arrays(arrays)
    return hashlib.sha256(about.encode()).hexdigest()[:16]
