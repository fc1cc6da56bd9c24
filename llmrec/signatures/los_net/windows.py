"""Which positions are looked at together.

A text of at most ``window`` positions is one window. A longer one has windows at every ``stride``
positions until its end is reached, the last one shorter; or it is cut after the first window. A
text without positions is one empty window, in which the network sees its own first vector alone.
"""

from dataclasses import dataclass

import numpy as np

from llmrec.data.ragged import offsets_of, position_of_each, row_of_each
from llmrec.signatures.los_net.columns import IntArray


@dataclass(frozen=True)
class Windows:
    """``W`` windows of ``n`` texts.

    Attributes:
        owner: ``[W]`` the text each belongs to, ascending.
        start: ``[W]`` its first position, counted within the text.
        length: ``[W]`` its positions.
    """

    owner: IntArray
    start: IntArray
    length: IntArray

    def __len__(self) -> int:
        return self.owner.size


def windows_of(lengths: IntArray, window: int, stride: int, cut: bool = False) -> Windows:
    """Lay windows over texts.

    Args:
        lengths: ``[n]`` positions of each text.
        window: Most positions of a window.
        stride: Positions between their starts.
        cut: Take the first window only.

    >>> windows_of(np.array([3, 0, 230]), 100, 50).length.tolist()
    [3, 0, 100, 100, 100, 80]
    """
    beyond = np.maximum(lengths - window, 0)
    counts = np.ones_like(lengths) if cut else 1 + -(-beyond // stride)
    offsets = offsets_of(counts)
    owner = row_of_each(offsets)
    start = position_of_each(offsets) * stride
    return Windows(owner, start, np.minimum(lengths[owner] - start, window))
