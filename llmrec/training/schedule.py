"""Learning-rate schedules as a pure function of the step."""

import math


def learning_rate_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """Factor on the peak learning rate at ``step`` (0-based) of ``total`` steps.

    Rises linearly over ``warmup`` steps, then stays (``constant``) or falls to zero at ``total``
    (``linear``, ``cosine``).

    >>> [round(learning_rate_factor(s, 4, 0, "cosine"), 2) for s in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    >>> learning_rate_factor(0, 10, 4, "constant")
    0.25
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "linear":
        return 1.0 - done
    return 0.5 * (1.0 + math.cos(math.pi * done))
