"""Figures of detectors on raw API responses, leaving one task out: from the files to the table.

    python eval/signatures/completions.py eval/signatures/completions.yaml --output eval/results

One result per task goes to ``OUTPUT/signatures/completions-<task>.json``, and the tables are shown.
With 30 questions a task the intervals are wide. Needs ``LLMREC_DATA_HOME``.
"""

import argparse
import sys
import time
from pathlib import Path

from reporting import limit_threads

from llmrec.data.named import data_home
from llmrec.errors import run_script
from llmrec.runs.environment import hardware, source_commit
from llmrec.runs.recipe import load_values
from llmrec.signatures.comparison import compare_methods, write_signature_result
from llmrec.signatures.comparison.results import methods_table, summary_table
from llmrec.signatures.readers import LogOptions, read_signatures
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import GroupSplit, leave_one_out, split_groups

KEYS = {"files", "k", "valid_share", "seeds", "los_net", "baselines_training"}


def main() -> None:
    """Read the responses, judge one task after the other."""
    parser = argparse.ArgumentParser(description="Detectors on raw completions.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="results folder")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--commit", help="of the code, where there is no repository to ask")
    parser.add_argument("--test-runs", type=int, default=1, help="looks at the test part so far")
    arguments = parser.parse_args()
    recipe = load_values(arguments.recipe, arguments.set, KEYS)
    limit_threads(1)

    # ---- raw responses, graded by the gold answers beside them ----
    paths = [data_home() / file for file in recipe["files"]]
    read = read_signatures(paths, "graded", LogOptions(k=recipe["k"]))
    for bad in read.bad:
        print(bad, file=sys.stderr)
    signatures = read.require_some()

    # ---- every task is left out once ----
    tasks = signatures.examples["task"].to_list()
    results = []
    for task in leave_one_out(tasks):
        started = time.perf_counter()
        found = compare_methods(
            signatures,
            split_without(signatures, task, recipe["valid_share"]),
            los_net=recipe["los_net"],
            seeds=recipe["seeds"],
            training=recipe["baselines_training"],
            blind="question",
            group="question, the task left out",
        )
        results.append(
            found.result(
                f"completions-{task.lower()}",
                "completions-top20",
                "the answer is wrong",
                recipe=str(arguments.recipe),
                commit=arguments.commit or source_commit() or "uncommitted",
                test_runs=arguments.test_runs,
                hardware=hardware(),
                wall_seconds=round(time.perf_counter() - started, 1),
            )
        )
        write_signature_result(results[-1], arguments.output)
        print(methods_table(results[-1]) + "\n", flush=True)
    print(summary_table(results))


def split_without(signatures: SignatureSet, task: str, valid_share: float) -> GroupSplit:
    """Questions of one task to test, those of the others to learn and to choose by."""
    rows = signatures.examples
    others = rows.filter(rows["task"] != task)["group"].to_list()
    shares = {"learn": 1 - valid_share, "valid": valid_share}
    parts = dict(split_groups(others, shares).parts)
    tested = rows.filter(rows["task"] == task)["group"].to_list()
    return GroupSplit({**parts, **dict.fromkeys(tested, "test")})


if __name__ == "__main__":
    run_script(main)
