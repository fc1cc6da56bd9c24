"""Record what the simulator's oracle reaches: the best any model could.

    python eval/oracle.py simulate-small

The oracle knows the true state behind every choice, so its figures are a ceiling, not a model's.
"""

import argparse
import time
from pathlib import Path

from llmrec.data.simulator import simulate
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.results import make_result, write_result
from llmrec.evaluation.tasks import load_task
from llmrec.runs.environment import hardware, source_commit

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", help="a task on simulated data")
    task = load_task(parser.parse_args().task)
    simulation = simulate(task.dataset)
    split = task.split(simulation.dataset)
    started = time.perf_counter()
    valid, test = (
        evaluate(simulation.oracle, split, task, part, model="oracle")  # type: ignore[arg-type]
        for part in ("valid", "test")
    )
    result = make_result(
        [test],
        [0],
        recipe=None,
        commit=source_commit() or "unknown",
        test_runs=1,
        hardware=hardware(),
        wall_seconds=round(time.perf_counter() - started, 1),
        validation=[valid],
    )
    print(write_result(result, RESULTS))


if __name__ == "__main__":
    main()
