"""What the scripts of this folder share: the data folder, splits without a test part."""

import os
from pathlib import Path

from llmrec.errors import ConfigError
from llmrec.signatures.splits import GroupSplit


def data_home() -> Path:
    """The data folder.

    Raises:
        ConfigError: ``LLMREC_DATA_HOME`` is not set.
    """
    home = os.environ.get("LLMREC_DATA_HOME")
    if not home:
        raise ConfigError("set LLMREC_DATA_HOME to the data folder.")
    return Path(home)


def without_test(split: GroupSplit) -> GroupSplit:
    """The split with its calibration part for a test part; the test groups go nowhere."""
    renamed = {"test": "unseen", "calibrate": "test"}
    return GroupSplit({group: renamed.get(part, part) for group, part in split.parts.items()})


def limit_threads(threads: int) -> None:
    """So many threads for this process: many small matrices gain nothing from more."""
    import torch

    torch.set_num_threads(threads)
