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
import csv
import gzip
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError, DataError, LlmrecError

if TYPE_CHECKING:
    from llmrec.inference.signature import SignatureRecord

_KEYS = {"file", "mode", "k", "vocab_size", "test_share", "seed", "detector"}


@dataclass(frozen=True)
class Labelled:
    """Records with labels and groups."""

    records: "list[SignatureRecord]"
    labels: list[float]
    groups: list[str]

    def take(self, rows: Any) -> "Labelled":
        """Some of the rows."""
        return Labelled(
            [self.records[i] for i in rows],
            [self.labels[i] for i in rows],
            [self.groups[i] for i in rows],
        )


def main() -> None:
    """Read the arguments, train, save, judge."""
    parser = argparse.ArgumentParser(description="Train LOS-Net under accelerate.")
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe in YAML")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    arguments = parser.parse_args()

    # ---- recipe: before anything slow is imported, so that a mistake costs nothing ----
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    home = os.environ.get("LLMREC_DATA_HOME")
    if not home:
        raise ConfigError("set LLMREC_DATA_HOME to the data folder.")

    # ---- data: whole subjects are held out ----
    from llmrec.evaluation.metrics.pairs import auc, ece
    from llmrec.signatures.los_net import LOSNet
    from llmrec.signatures.los_net.holdout import checked_labels, hold_out
    from llmrec.training.setup import processes

    every = read_answers(Path(home) / recipe["file"], recipe)
    labels = checked_labels(every.labels, len(every.records))
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
    state.destroy_process_group()


def load_recipe(path: Path, overrides: list[str]) -> dict[str, Any]:
    """The recipe's values, with dotted overrides."""
    import yaml

    if not path.is_file():
        raise ConfigError(f"{path} is missing.")
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} changes nothing; write name=value.")
        *outer, last = name.split(".")
        place = recipe
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    unknown, missing = sorted(recipe.keys() - _KEYS), sorted(_KEYS - recipe.keys())
    if unknown or missing:
        raise ConfigError(f"{path}: unknown {unknown}, missing {missing}.")
    return recipe


def read_answers(path: Path, recipe: dict[str, Any]) -> Labelled:
    """One record per question; the answer is the most probable token."""
    import numpy as np

    from llmrec.inference.signature import Position, record_of_positions

    if not path.is_file():
        raise DataError(f"{path} is missing.")
    found = Labelled([], [], [])
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["mode"] != recipe["mode"] or not row["probs"]:
                continue
            probabilities = np.array(row["probs"].split(), dtype=np.float64)
            # letters of both cases were added up, and rounding can lift the sum above 1
            logprobs = np.log(probabilities / max(probabilities.sum(), 1.0))
            best = int(probabilities.argmax())
            record = record_of_positions(
                [Position(logprobs.tolist(), actual=best)],
                recipe["k"],
                vocab_size=recipe["vocab_size"],
                mode="raw_logprobs",
                kind="output",
                has_eos=False,
                fingerprint={"model": path.name.removesuffix(".csv.gz")},
            )
            found.records.append(record)
            found.labels.append(float(row["tokens"].split()[best] != row["gold"]))
            found.groups.append(row["subject"])
    return found


if __name__ == "__main__":
    try:
        main()
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
