"""Keep freed memory in the process while training on CPU.

glibc gives large blocks back to the system as soon as they are freed, so every step faults its
activations in again; on small models that is a third of the time. Elsewhere this does nothing.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # parameters of mallopt(3)
_ONE_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks; returns whether it was told."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, _ONE_GIB), (_TRIM_THRESHOLD, _ONE_GIB), (_TOP_PAD, 1 << 26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
