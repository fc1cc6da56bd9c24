"""Make the embedded language model of a data set: how long it takes, and how good it is.

    python eval/benchmarks/tiny_lm.py [--dataset ml-latest-small] [--preset small] [--threads 2]
    python eval/benchmarks/tiny_lm.py --keep FOLDER --resume     # go on, or take what is there

Time runs from the data in memory to the finished folder, tokenizer, training and judging included;
where a training was interrupted, the time up to the newest checkpoint before that counts too.
Perplexities are of validation events told after their history; areas under the curve are of P(Yes)
for validation events, beside what the training part says about the item alone.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import record
import torch

from llmrec.data import leave_one_out
from llmrec.data.named import load_dataset
from llmrec.runs.environment import cores
from llmrec.tiny_lm.config import make_config
from llmrec.tiny_lm.making import fast_precision, train_tiny


def measure(
    dataset: str,
    preset: str,
    threads: int,
    folder: Path,
    keep: Path | None,
    resume: bool,
    shared: bool,
) -> Path:
    """Make the model once and record what came of it."""
    split = leave_one_out(load_dataset(dataset))
    config = make_config(preset, training={"precision": fast_precision()})
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        target = keep or Path(temporary) / "model"
        made = train_tiny(split, config, folder=target, replace=not resume, resume=resume)
    metrics = made.metrics
    seconds = sum(metrics["seconds"].values())
    setting: dict[str, str | int | float | bool] = {
        "dataset": dataset,
        "split": f"{split.name} {split.hash}",
        "preset": preset,
        "precision": config.training.precision,
        "threads": metrics["threads"],
        "beside_other_work": shared,
        "epochs": config.training.epochs,
        "tokens": metrics["corpus"]["tokens"],
        "weights_outside_embedding": metrics["weights"]["outside_embedding"],
        **_figures(metrics["held_out"]),
    }
    name = "tiny_lm" if (dataset, preset) == ("ml-latest-small", "small") else f"tiny_lm_{preset}"
    return record.write_benchmark(name, setting, [seconds], details=dict(metrics), folder=folder)


def _figures(held_out: dict[str, Any]) -> dict[str, float]:
    """Perplexities and areas under the curve."""
    texts = held_out["texts"]
    found = {
        "perplexity": texts["perplexity"],
        "perplexity_trigram": texts["trigram"],
        "perplexity_unigram": texts["unigram"],
    }
    for action in ("like", "choose"):
        for name in ("auc", "auc_item_average"):
            value = held_out.get(action, {}).get(name)
            if value is not None:
                found[f"{action}_{name}"] = value
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    """Make the model that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="ml-latest-small")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    parser.add_argument("--keep", type=Path, help="keep the model in this folder")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--shared", action="store_true", help="other work ran on the machine: say so with the time"
    )
    given = parser.parse_args()
    if given.resume and given.keep is None:
        parser.error("--resume needs --keep, the folder beside which the checkpoints lie.")
    path = measure(
        given.dataset,
        given.preset,
        given.threads,
        given.folder,
        given.keep,
        given.resume,
        given.shared,
    )
    print(f"written: {path}")


if __name__ == "__main__":
    main()
