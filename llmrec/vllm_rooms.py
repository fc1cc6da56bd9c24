"""Ranks of LoRA adapters that vLLM has room for; an engine is started for one of them."""

ROOMS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def room_for(rank: int) -> int | None:
    """The smallest room that adapters of a rank fit into; None beyond the largest.

    >>> room_for(8), room_for(9), room_for(513)
    (8, 16, None)
    """
    return next((room for room in ROOMS if room >= rank), None)
