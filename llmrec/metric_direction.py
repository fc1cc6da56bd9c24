"""Which way a metric improves, for everything that chooses by one or marks the best of a table."""

_LOWER_IS_BETTER = ("logloss", "ece", "brier", "aurc", "e_aurc")


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of a metric is a better one.

    >>> higher_is_better("ndcg@10"), higher_is_better("logloss")
    (True, False)
    """
    return metric.split("@")[0] not in _LOWER_IS_BETTER
