"""Figures of detectors on the answer letters of MMLU: every LLM and mode, and across LLMs.

    python eval/signatures/mcq.py eval/signatures/mcq.yaml --output eval/results --workers 8
    python eval/signatures/mcq.py eval/signatures/mcq.yaml --output /tmp/try --select \
        --cells mistral-7b-direct
    python eval/signatures/mcq.py eval/signatures/mcq.yaml --output eval/results --transfer

One result per cell goes to ``OUTPUT/signatures/mcq-<llm>-<mode>.json``, with the transfer of its
detectors to all other LLMs inside. Subjects are split once for all cells. ``--select`` leaves the
test part alone: the calibration part stands in for it, to compare settings; nothing of that is a
result. ``--transfer`` trains LOS-Net again, with the seeds of the transfer, and replaces nothing
but the transfer in results that are there. Needs ``LLMREC_DATA_HOME``.
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
from reporting import limit_threads, without_test

from llmrec.data.named import data_home
from llmrec.errors import DataError, run_script
from llmrec.runs.environment import hardware, source_commit
from llmrec.runs.recipe import load_values
from llmrec.signatures.comparison import (
    compare_methods,
    load_signature_results,
    write_signature_result,
)
from llmrec.signatures.comparison.results import TransferFigures
from llmrec.signatures.readers import read_token_table
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import GroupSplit, split_groups

KEYS = {
    "files", "modes", "k", "shares", "split_seed", "seeds", "baseline_seeds", "los_net",
    "baselines_training", "transfer_labels", "transfer_seeds", "calibration_folds",
}  # fmt: skip


def main() -> None:
    """Read the arguments, judge the cells, and every detector on the other LLMs."""
    parser = argparse.ArgumentParser(description="Detectors on the answer letters of MMLU.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="results folder")
    parser.add_argument("--cells", nargs="*", help="only these, as LLM-mode")
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--select", action="store_true", help="leave the test part alone")
    parser.add_argument("--transfer", action="store_true", help="the transfer alone")
    parser.add_argument("--baselines", nargs="*", help="only these")
    parser.add_argument("--test-runs", type=int, default=1, help="looks at the test part so far")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--commit", help="of the code, where there is no repository to ask")
    arguments = parser.parse_args()
    recipe = load_values(arguments.recipe, arguments.set, KEYS)

    # ---- one process per cell; they start afresh, since polars does not survive a fork ----
    names = [f"{llm}-{mode}" for llm in recipe["files"] for mode in recipe["modes"]]
    work = partial(transfer_cell if arguments.transfer else judge_cell, recipe, arguments)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for sentence in pool.map(work, arguments.cells or names):
            print(sentence, flush=True)


def load_mode(recipe: dict[str, Any], mode: str) -> tuple[dict[str, SignatureSet], GroupSplit]:
    """The records of every LLM in one mode, and the split of subjects for all LLMs and modes.

    Shares are met by the questions of all LLMs and modes together, so that the split is the same
    for every cell.
    """
    cells: dict[str, SignatureSet] = {}
    questions: set[tuple[str, str]] = set()
    for llm, file in recipe["files"].items():
        read = read_token_table(data_home() / file, k=recipe["k"], group="subject", strict=True)
        questions.update(read.set.examples.select("group", "question_id").unique().rows())
        cells[llm] = read.set.where(pl.col("mode") == recipe["modes"][mode])
    groups = [subject for subject, _ in sorted(questions)]
    return cells, split_groups(groups, recipe["shares"], recipe["split_seed"])


def judge_cell(recipe: dict[str, Any], arguments: argparse.Namespace, name: str) -> str:
    """Compare the methods on one cell, carry LOS-Net over to the others, write the result."""
    limit_threads(1)
    started = time.perf_counter()
    llm, _, mode = name.rpartition("-")
    cells, split = load_mode(recipe, mode)
    if arguments.select:
        split = without_test(split)
    own = {} if arguments.baselines is None else {"baselines": arguments.baselines}
    found = compare_methods(
        cells[llm],
        split,
        los_net=recipe["los_net"],
        seeds=recipe["seeds"],
        baseline_seeds=recipe["baseline_seeds"],
        training=recipe["baselines_training"],
        group="subject",
        shuffled=not arguments.select,
        folds=recipe["calibration_folds"],
        **own,
    )
    result = found.result(
        f"mcq-{name}",
        "mcq-logprobs",
        "the answer letter is wrong",
        recipe=str(arguments.recipe),
        commit=arguments.commit or source_commit() or "uncommitted",
        test_runs=0 if arguments.select else arguments.test_runs,
        hardware=hardware(),
    )
    write_signature_result(result, arguments.output)

    # ---- LOS-Net on the other LLMs ----
    if not arguments.select:
        models = found.scores["los_net"].models[: len(recipe["transfer_seeds"])]
        moved = _moved(recipe, llm, models, cells, split)
        seconds = round(time.perf_counter() - started, 1)
        changed = {"transfer": moved, "wall_seconds": seconds}
        write_signature_result(result.model_copy(update=changed), arguments.output)
    ours, gap = result.methods["los_net"], result.best_baseline
    seeds = " ".join(f"{value:.4f}" for value in ours.auc.per_seed)
    against = "" if gap is None else f"{gap.auc:+.4f} to {gap.baseline}"
    ece = "-" if ours.ece is None else f"{ours.ece:.3f}"
    seconds = round(time.perf_counter() - started, 1)
    return f"{name}: {ours.auc.mean:.4f} ({seeds}), {against}, ece {ece}, {seconds} s"


def transfer_cell(recipe: dict[str, Any], arguments: argparse.Namespace, name: str) -> str:
    """Carry LOS-Net over to the other LLMs, and put that into the result that is there."""
    limit_threads(1)
    llm, _, mode = name.rpartition("-")
    kept = {one.task: one for one in load_signature_results(arguments.output)}
    if f"mcq-{name}" not in kept:
        raise DataError(f"{arguments.output} has no result mcq-{name}; make it without --transfer.")
    cells, split = load_mode(recipe, mode)
    found = compare_methods(
        cells[llm], split, los_net=recipe["los_net"], baselines=[],
        seeds=recipe["transfer_seeds"], shuffled=False, draws=1,
    )  # fmt: skip
    about = {
        "commit": arguments.commit or source_commit() or "uncommitted",
        "test_runs": arguments.test_runs,
    }
    moved = _moved(recipe, llm, found.scores["los_net"].models, cells, split)
    moved = tuple(one.model_copy(update=about) for one in moved)
    result = kept[f"mcq-{name}"].model_copy(update={"transfer": moved})
    write_signature_result(result, arguments.output)
    below = [one.target for one in moved if (one.adapted_less_single or (0, 0))[1] < 0]
    return f"{name}: to {len(moved)} others, below the single score on {below or 'none'}"


def _moved(
    recipe: dict[str, Any],
    llm: str,
    models: Sequence[Any],
    cells: dict[str, SignatureSet],
    split: GroupSplit,
) -> tuple[TransferFigures, ...]:
    from transfer import transfer_figures

    return tuple(
        transfer_figures(llm, other, models, cells[other], split, recipe["transfer_labels"])
        for other in recipe["files"]
        if other != llm
    )


if __name__ == "__main__":
    run_script(main)
