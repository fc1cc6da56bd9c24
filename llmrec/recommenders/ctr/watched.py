"""What a training on judged pairs may be watched by: the pairs, or ranks where there are none."""

from llmrec.data.splits import Cases, LabelledCases
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import PAIR_METRICS, require_pair_metric, require_ranking_metric


def require_metric(
    metric: str, judged: LabelledCases | None, valid: Cases | None, model: str
) -> None:
    """Refuse a metric that validation will not report, before anything is trained.

    Args:
        metric: ``training.metric``.
        judged: Judged pairs, if there are any.
        valid: Cases to rank the whole catalog for, where there are no judged pairs.
        model: Name for messages.

    Raises:
        ConfigError: It is refused; without either there is no validation, and any name will do.
    """
    where = f"{model}: training.metric"
    if judged is not None:
        require_pair_metric(metric, where)
    elif valid is not None:
        if metric in PAIR_METRICS:
            raise ConfigError(
                f"{where} is {metric!r}, which needs judged pairs; call use_judged before fit, or "
                "choose a ranking metric such as ndcg@10."
            )
        require_ranking_metric(metric, where)
