"""How we judge: protocols, metrics, ranks, significance, the harness, results."""

from llmrec.evaluation.comparison import compare
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.metrics import Metric, parse_metric
from llmrec.evaluation.outcome import Evaluation, Figure, TopLists
from llmrec.evaluation.protocol import Protocol, require_same, require_unseen
from llmrec.evaluation.ranks import rank_cases
from llmrec.evaluation.results import load_results, make_result, results_table, write_result
from llmrec.evaluation.tasks import Task, load_task, task_names
from llmrec.evaluation.trec import export_trec

__all__ = [
    "Evaluation",
    "Figure",
    "Metric",
    "Protocol",
    "Task",
    "TopLists",
    "compare",
    "evaluate",
    "export_trec",
    "load_results",
    "load_task",
    "make_result",
    "parse_metric",
    "rank_cases",
    "require_same",
    "require_unseen",
    "results_table",
    "task_names",
    "write_result",
]
