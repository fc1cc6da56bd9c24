"""Train LOS-Net on labelled signatures, on one or many processes, and save it.

    python scripts/train_los_net.py --recipe eval/signatures/mcq-mistral-7b.yaml --output runs/mcq
    accelerate launch scripts/train_los_net.py --recipe ... --output runs/mcq
    python scripts/train_los_net.py --recipe ... --output runs/mcq detector.members=1

The recipe names a file in the form of ``mcq-logprobs`` under ``LLMREC_DATA_HOME`` (one row per
question: the probabilities of the answer letter), which mode's rows to take, and LOS-Net's
settings. Subjects are split by ``test_share``: those held out are scored once, after training.
Label 1, risk, is a wrong answer. Only the main process saves and judges.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.data.named import data_home
from llmrec.errors import run_script
from llmrec.runs.recipe import load_values

if TYPE_CHECKING:
    from llmrec.signatures.records import SignatureSet

_KEYS = {"file", "mode", "k", "vocab_size", "test_share", "seed", "detector"}


def main() -> None:
    """Read the arguments, train, save, judge."""
    parser = argparse.ArgumentParser(description="Train LOS-Net under accelerate.")
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe in YAML")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    arguments = parser.parse_args()

    # ---- recipe: before anything slow is imported, so that a mistake costs nothing ----
    recipe = load_values(arguments.recipe, arguments.overrides, _KEYS)
    home = data_home()

    # ---- data: whole subjects are held out ----
    from llmrec.evaluation.metrics.pairs import auc, ece
    from llmrec.signatures.los_net import LOSNet
    from llmrec.signatures.los_net.holdout import checked_labels, hold_out
    from llmrec.training.setup import end_processes, processes

    every = read_answers(home / recipe["file"], recipe)
    labels = checked_labels(every.labels, len(every))
    learn, test = hold_out(labels, every.groups, recipe["test_share"], recipe["seed"])

    # ---- training: processes share the gradients ----
    state = processes()
    train = every.take(learn)
    model = LOSNet(**recipe["detector"]).fit(train.records, train.labels, train.groups)

    # ---- the main process keeps the result ----
    if state.is_main_process:
        model.save_pretrained(arguments.output)
        risk = model.predict_risk(every.take(test).records)
        found = {
            "auc": round(auc(labels[test], risk), 4),
            "ece": round(ece(labels[test], risk), 4),
            "n_test": int(test.size),
            "n_parameters": model.n_parameters,
        }
        print(f"saved in {arguments.output}; held-out subjects: {json.dumps(found)}")
    end_processes()


def read_answers(path: Path, recipe: dict[str, Any]) -> "SignatureSet":
    """One labelled record per question; the answer is the most probable token."""
    import polars as pl

    from llmrec.signatures.readers import read_token_table

    read = read_token_table(path, k=recipe["k"], vocab_size=recipe["vocab_size"], group="subject")
    for bad in read.bad:
        print(bad, file=sys.stderr)
    return read.require_some().where(pl.col("mode") == recipe["mode"])


if __name__ == "__main__":
    run_script(main)
