"""From a data set and a split to a folder with a language model.

The folder has the layout of Hugging Face's ``save_pretrained``, with ``metrics.json``, the training
log, a card, and the record of what was seen. It appears only when everything in it is there;
checkpoints lie beside it in ``<folder>.checkpoints`` until then.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

import llmrec
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.seen import SEEN, read_seen, write_seen
from llmrec.inference.tiny_names import tiny_folder
from llmrec.storage import (
    atomic_directory,
    file_sha256,
    read_json,
    require_finished,
    write_json,
)
from llmrec.tiny_lm.card import render_card
from llmrec.tiny_lm.config import TinyConfig
from llmrec.tiny_lm.corpus import Documents, training_documents
from llmrec.tiny_lm.events import Events, held_out_events
from llmrec.tiny_lm.judging import judge
from llmrec.tiny_lm.network import NextTokenLoss, count_weights, make_network
from llmrec.tiny_lm.packing import TokenBlocks, answers_in, token_stream
from llmrec.tiny_lm.tokenizer import train_tokenizer
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer

METRICS = "metrics.json"
_JUDGED_EVENTS = 2_000


@dataclass(frozen=True)
class TinyModelFolder:
    """A finished embedded model.

    Attributes:
        folder: Where it lies.
        metrics: The content of its ``metrics.json``.
        trained: Whether it was trained by this call; else it was there.
    """

    folder: Path
    metrics: Mapping[str, Any]
    trained: bool


def fast_precision() -> str:
    """``"bf16"`` where this machine computes it in hardware, else ``"float32"``."""
    known: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    here = torch.cuda.is_available() or known.get("amx_bf16") or known.get("avx512_bf16")
    return "bf16" if here else "float32"


def train_tiny(
    split: Split,
    config: TinyConfig | None = None,
    *,
    texts: Sequence[str | Path] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    replace: bool = False,
) -> TinyModelFolder:
    """Train an embedded language model, unless this very one is there.

    Args:
        split: What is learnt from: the catalogue and the training part.
        config: Sizes and settings; None for those of the preset ``small``.
        texts: Further text files.
        folder: Where to; None is the place where ``tiny:DATASET@HASH`` is looked for.
        resume: Go on from the newest whole checkpoint.
        replace: Replace a model that was made with other settings or texts.

    Raises:
        ArtifactError: There is a model made with other settings, something else, or without
            ``resume`` the checkpoints of a training that was broken off.
        DataError: A text file cannot be read, or there is nothing to learn.
        ConfigError: By their ratings, all or none of the training events would be likes.
        TrainingError: The loss is not finite, or the checkpoints are of another training.
    """
    config = config or TinyConfig()
    files = [Path(path) for path in texts]
    origin = split.train_histories().origin
    assert origin is not None
    target = Path(folder) if folder is not None else tiny_folder(origin)
    recipe = {
        "settings": config.model_dump(mode="json"),
        "texts": [file_sha256(path) for path in files if path.is_file()],
    }
    if not replace and _is_there(target, recipe, origin.split_hash):
        return TinyModelFolder(target, read_json(target / METRICS), False)
    checkpoints = target.with_name(f"{target.name}.checkpoints")
    if not resume:
        require_finished(checkpoints, target / SEEN)
    started = time.perf_counter()
    documents, events = training_documents(split, config.corpus, files)
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    about = {**recipe, "llmrec": llmrec.__version__, "transformers": transformers.__version__}
    with atomic_directory(target, SEEN) as temporary:
        trainer = _trainer(config, checkpoints, resume)
        metrics = _make(temporary, documents, events, split, config, trainer, started)
        card = render_card(origin, documents, config, metrics)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        write_seen(temporary, [origin], about)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return TinyModelFolder(target, metrics, True)


def _trainer(config: TinyConfig, checkpoints: Path, resume: bool) -> Trainer:
    settings = config.model_dump(mode="json", exclude={"training"})
    return Trainer(config.training, checkpoints, resume, model_settings=settings)


def _make(
    folder: Path,
    documents: Documents,
    events: Events,
    split: Split,
    config: TinyConfig,
    trainer: Trainer,
    started: float,
) -> dict[str, Any]:
    """Train, save and judge; returns the figures."""
    tokenizer = train_tokenizer(documents.texts, config.vocab_size)
    stream = token_stream(tokenizer, documents.texts)
    seed_everything(config.training.seed)
    network = make_network(config, tokenizer)
    prepared = time.perf_counter()
    heavy = answers_in(tokenizer, stream)
    blocks = TokenBlocks(stream, config.context, heavy, config.corpus.answer_weight)
    log = trainer.fit(NextTokenLoss(network), blocks)
    network.cpu().float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    trained = time.perf_counter()
    held_out = held_out_events(split, config.corpus.liked_from, _JUDGED_EVENTS, config.corpus.seed)
    judged = {}
    if held_out.rows.size:
        model = HFLanguageModel(folder)
        judged = judge(model, tokenizer, events, held_out, stream, config.context)
    metrics = {
        "held_out": {"part": "valid", **judged},
        "weights": count_weights(network),
        "corpus": {
            "documents": documents.counts,
            "characters": documents.characters,
            "tokens": int(stream.size),
            "vocab_size": len(tokenizer),
        },
        "seconds": {
            "preparing": round(prepared - started, 1),
            "training": round(log[-1]["seconds"], 1),
            "judging": round(time.perf_counter() - trained, 1),
        },
        "threads": torch.get_num_threads(),
    }
    write_json(folder / METRICS, metrics)
    lines = "".join(json.dumps(row) + "\n" for row in log)
    (folder / "log.jsonl").write_text(lines, encoding="utf-8")
    return metrics


def _is_there(folder: Path, recipe: Mapping[str, Any], split_hash: str) -> bool:
    """Whether the folder holds the model of this recipe and split.

    Raises:
        ArtifactError: It holds another model.
    """
    record = read_seen(folder)
    if record is None:
        return False
    (origin,) = record["seen"]
    same = {name: record["about"].get(name) for name in recipe} == dict(recipe)
    if same and origin["split_hash"] == split_hash:
        return True
    raise ArtifactError(
        f"{folder} holds a language model that was made with other settings, texts or another "
        "split; replace it with --replace, or choose another folder."
    )
