"""How a long row of events is cut into windows to learn from.

Every event carries loss in one window only, whatever its length.
"""

import numpy as np
import numpy.typing as npt

from llmrec.data.ragged import offsets_of, position_of_each, row_of_each

Windows = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def window_rows(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], max_length: int
) -> Windows:
    """Cut rows into windows that end ``0, s, 2s, ...`` before the newest input, ``s`` half of them.

    The newest window of a user learns at its last ``s`` positions and so on backwards; the oldest
    one, which begins at the first event, learns at all that are left.

    Returns:
        Start, length and number of learnt positions of every window.
    """
    step = max(1, max_length // 2)
    n_windows = 1 + np.ceil(np.maximum(lengths - max_length, 0) / step).astype(np.int64)
    owner = np.repeat(np.arange(lengths.size), n_windows)
    ends = lengths[owner] - position_of_each(offsets_of(n_windows)) * step
    first = np.maximum(ends - max_length, 0)
    oldest = np.append(np.diff(owner) > 0, True)
    return starts[owner] + first, ends - first, np.where(oldest, ends, step)


def prefix_rows(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], max_length: int
) -> Windows:
    """One window per input, at most ``max_length`` long, that learns at its last position only.

    Args:
        starts: ``[rows]`` where each row begins.
        lengths: ``[rows]`` its inputs.
        max_length: Longest window.

    Returns:
        As :func:`window_rows`.
    """
    offsets = offsets_of(lengths)
    ends = position_of_each(offsets) + 1
    size = np.minimum(ends, max_length)
    return starts[row_of_each(offsets)] + ends - size, size, np.ones_like(size)
