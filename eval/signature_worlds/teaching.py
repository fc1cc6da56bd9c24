"""Teach a tiny language model from scratch: every text exactly as often as it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from settings import ModelSettings

from llmrec.tiny_lm.config import TinyConfig
from llmrec.tiny_lm.network import NextTokenLoss, make_network
from llmrec.tiny_lm.packing import TokenBlocks, token_stream
from llmrec.tiny_lm.tokenizer import train_tokenizer
from llmrec.training.config import TrainingConfig
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer


def teach(
    texts: Sequence[str],
    times: Sequence[int],
    settings: ModelSettings,
    folder: Path,
    extra: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model on one pass over all copies in random order, and save it with its tokenizer.

    The tokenizer is learnt from all texts once, the untaught ones too: it must not give away who
    was taught.

    Args:
        texts: Every text of the world.
        times: ``[n]`` copies of each; 0 for none.
        settings: Size, schedule and seed.
        folder: Where to save it, in the layout of transformers.
        extra: Further texts that are taught once each and never asked about.

    Returns:
        Figures of the training.
    """
    tokenizer = train_tokenizer([*texts, *extra], settings.vocab_size)
    copies = np.repeat(np.arange(len(texts)), times)
    order = np.random.default_rng([settings.seed, 1]).permutation(copies.size + len(extra))
    every = [*(texts[i] for i in copies.tolist()), *extra]
    stream = token_stream(tokenizer, [every[i] for i in order.tolist()])
    config = TinyConfig(
        hidden_size=settings.hidden_size,
        layers=settings.layers,
        intermediate_size=settings.intermediate_size,
        vocab_size=settings.vocab_size,
        context=settings.context,
    )
    steps = -(-stream.size // (settings.context * settings.batch_size))
    training = TrainingConfig(
        epochs=1,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=0.98,
        warmup_steps=max(1, steps // 20),
        schedule="cosine",
        clip_norm=1.0,
        precision=settings.precision,
        seed=settings.seed,
    )
    seed_everything(settings.seed)
    network = make_network(config, tokenizer)
    log = Trainer(training).fit(NextTokenLoss(network), TokenBlocks(stream, settings.context))
    network.cpu().float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "loss": round(log[-1]["loss"], 4),
        "seconds": round(log[-1]["seconds"], 1),
        "tokens": int(stream.size),
        "copies": int(copies.size),
        "weights": sum(weight.numel() for weight in network.parameters()),
        "vocab_size": len(tokenizer),
    }
