"""Fine-tuning of a sentence encoder on pairs of texts that belong together.

The training is sentence-transformers' own: ``SentenceTransformerTrainer`` with in-batch negatives
(``MultipleNegativesRankingLoss``; Henderson et al. 2017, van den Oord et al. 2018) and batches in
which no text occurs twice, so that no text is its own negative. What pairs mean (titles bought by
one user, a title and its description) is for the caller to say, and so is that they come from the
training part only.
"""

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec.errors import ConfigError, DataError
from llmrec.retrieval.sentence import SentenceEncoder, no_progress_bar
from llmrec.storage import atomic_directory

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.training_args import (
        SentenceTransformerTrainingArguments as Arguments,
    )

LOG = "fine_tuning.json"
_LOSS_LINES = 50


def fine_tune(
    encoder: SentenceEncoder,
    pairs: Sequence[tuple[str, str]],
    output: str | Path,
    *,
    epochs: float = 1.0,
    batch_size: int = 64,
    learning_rate: float = 2e-5,
    warmup: float = 0.1,
    max_steps: int | None = None,
    scale: float = 20.0,
    seed: int = 0,
) -> SentenceEncoder:
    """Train a copy of an encoder so that the texts of a pair lie close together.

    Args:
        encoder: The encoder to start from; it is not changed.
        pairs: Texts that belong together.
        output: Directory of the new model, written when training has ended. Beside the model it
            holds ``fine_tuning.json`` with the settings and the losses.
        epochs: Passes over the pairs.
        batch_size: Pairs a batch; every other second text of the batch is a negative.
        learning_rate: Peak of a linear schedule with warm-up.
        warmup: Share of the steps over which the learning rate rises.
        max_steps: Stop after this many steps, whatever ``epochs`` says.
        scale: Factor on cosines before the softmax (1 / temperature).
        seed: Seed of order and dropout.

    Returns:
        The new encoder, read from ``output``.

    Raises:
        DataError: Fewer than two pairs, or a pair with a blank text.
        ConfigError: A setting is out of range.
        ArtifactError: ``output`` is a directory of another kind.
    """
    settings: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup": warmup,
        "max_steps": max_steps,
        "scale": scale,
        "seed": seed,
    }
    _check(pairs, settings)
    model = copy.deepcopy(encoder.model)
    with atomic_directory(output, LOG) as folder:
        with no_progress_bar():
            history = _train(model, pairs, settings)
            model.save_pretrained(str(folder), create_model_card=False)
        facts = {"base": encoder.fingerprint, "pairs": len(pairs), **settings, "log": history}
        (folder / LOG).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return SentenceEncoder(output, encoder.batch_size, str(encoder.model.device))


def _check(pairs: Sequence[tuple[str, str]], settings: dict[str, Any]) -> None:
    if len(pairs) < 2:
        raise DataError(f"{len(pairs)} pairs: in-batch negatives need at least two.")
    for row, pair in enumerate(pairs):
        if not (pair[0].strip() and pair[1].strip()):
            raise DataError(f"pair {row} has a blank text: {pair!r}; leave it out.")
    for name in ("epochs", "learning_rate", "scale"):
        if not settings[name] > 0:
            raise ConfigError(f"{name} is {settings[name]}; it must be above 0.")
    if settings["batch_size"] < 2:
        raise ConfigError(f"batch_size is {settings['batch_size']}; negatives need at least 2.")
    if not 0 <= settings["warmup"] <= 1:
        raise ConfigError(f"warmup is {settings['warmup']}; it is a share from 0 to 1.")


def _train(
    model: "SentenceTransformer", pairs: Sequence[tuple[str, str]], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Train in place; returns the log of losses."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import PrinterCallback

    model.model_card_data.generate_widget_examples = False
    first, second = zip(*pairs, strict=True)
    table = Dataset.from_dict({"anchor": list(first), "positive": list(second)})
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=_arguments(model, len(pairs), settings, scratch),
            train_dataset=table,
            loss=MultipleNegativesRankingLoss(model, scale=settings["scale"]),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return [dict(row) for row in trainer.state.log_history]


def _arguments(
    model: "SentenceTransformer", n_pairs: int, settings: dict[str, Any], scratch: str
) -> "Arguments":
    from sentence_transformers.sentence_transformer.training_args import (
        BatchSamplers,
        SentenceTransformerTrainingArguments,
    )

    batches = settings["epochs"] * n_pairs / settings["batch_size"]
    steps = settings["max_steps"] or max(1, round(batches))
    return SentenceTransformerTrainingArguments(
        output_dir=scratch,
        num_train_epochs=settings["epochs"],
        max_steps=settings["max_steps"] or -1,
        per_device_train_batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        warmup_steps=round(settings["warmup"] * steps),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=settings["seed"],
        use_cpu=model.device.type == "cpu",
        save_strategy="no",
        logging_steps=max(1, steps // _LOSS_LINES),
        report_to="none",
        disable_tqdm=True,
    )
