"""What the scripts of this folder share: splits without a test part, few threads."""

from llmrec.signatures.splits import GroupSplit


def without_test(split: GroupSplit) -> GroupSplit:
    """The split with its calibration part for a test part; the test groups go nowhere."""
    renamed = {"test": "unseen", "calibrate": "test"}
    return GroupSplit({group: renamed.get(part, part) for group, part in split.parts.items()})


def limit_threads(threads: int) -> None:
    """So many threads for this process: many small matrices gain nothing from more."""
    import torch

    torch.set_num_threads(threads)
