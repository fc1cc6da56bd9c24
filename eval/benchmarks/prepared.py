"""Write the events of a leave-one-out split in the form the peers' scripts read.

``events.parquet`` has ``user, item`` (codes from 1), ``position`` within the user, oldest first,
and ``part`` (0 train, 1 valid, 2 test). Nothing else passes from us to a peer.
"""

from pathlib import Path

import numpy as np
import polars as pl

from llmrec.data import Split
from llmrec.data.ragged import position_of_each, row_of_each
from llmrec.storage import atomic_file


def write_events(split: Split, path: Path, max_users: int | None = None) -> None:
    """Write every event of a split with its part; ``max_users`` keeps the first users only."""
    offsets = split.dataset.user_offsets
    frame = pl.DataFrame(
        {
            "user": (row_of_each(offsets) + 1).astype(np.int32),
            "item": split.dataset.item_codes,
            "position": position_of_each(offsets).astype(np.int32),
            "part": split.parts,
        }
    )
    if max_users is not None:
        frame = frame.filter(pl.col("user") <= max_users)
    with atomic_file(path) as temporary:
        frame.write_parquet(temporary)
