"""Items whose order is judged: simulated ones with known error rates, and real answer letters.

``conformal.py`` and ``conformal_starts.py`` share them.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "eval" / "signatures" / "mcq-mistral-7b.yaml"
MEMBERS = 5
"""Networks whose logits are averaged: the order of the surest items is that of no single draw."""
MODELS = ("Mistral-7B-instruct-v0.3", "Yi-1.5-9B-Chat", "gpt4o-mini", "llama3.1-8B")
MODES = ("Direct", "afterThinking")

Values = npt.NDArray[np.float64]
Half = Literal["learnt", "held out"]

# ---- simulated items ----

GRID = (np.arange(20_000) + 0.5) / 20_000


@dataclass(frozen=True)
class Shape:
    """Items with risks that are uniform between 0 and 1.

    Attributes:
        name: What it is called.
        error: Probability that an item is wrong, given its risk.
    """

    name: str
    error: Callable[[Values], Values]


SHAPES = (
    Shape("calibrated", lambda r: 0.6 * r**2),
    Shape("at the budget", lambda r: np.where(r < 0.5, 0.05, 0.05 + 0.5 * (r - 0.5))),
    # errors lie where the walk begins, and further on there are none
    Shape("adverse", lambda r: np.where((r > 0.08) & (r < 0.2), 0.3, 0.03)),
)


# ---- real items ----


@dataclass(frozen=True)
class Cell:
    """Items of one LLM and mode.

    Attributes:
        name: LLM and mode.
        labels: ``[n]`` 1 for a wrong answer.
        subjects: ``[n]`` numbers of the subjects.
        scores: What orders the items, ``[n]`` each, larger for more risk.
    """

    name: str
    labels: Values
    subjects: npt.NDArray[np.int64]
    scores: dict[str, Values]


def cells(home: Path, half: Half, kept: Path | None, small: bool) -> Iterator[Cell]:
    """The cells of ``mcq-logprobs``; LOS-Net is trained for each.

    Args:
        home: The data folder.
        half: ``held out``: LOS-Net learns from half of the subjects and judges the other half, the
            test part. ``learnt``: it learns from a half of the first half and judges the rest of
            it, so that something can be chosen without a look at the test part.
        kept: Folder to keep risks in, and to take them from; None for none.
        small: One cell and few epochs, for a try.
    """
    for model in MODELS[:1] if small else MODELS:
        for mode in MODES[:1] if small else MODES:
            path = None if kept is None else kept / f"{half}-{model}-{mode}.npz"
            if path is not None and path.is_file():
                saved = dict(np.load(path))
            else:
                saved = _scored(home / "mcq-logprobs" / f"{model}.csv.gz", mode, half, small)
                if path is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    np.savez(path, **saved)
            labels, subjects = saved.pop("labels"), saved.pop("subjects")
            yield Cell(f"{model}, {mode}", labels, subjects, saved)


def _scored(path: Path, mode: str, half: Half, small: bool) -> dict[str, Any]:
    from llmrec.signatures.los_net import LOSNet
    from llmrec.signatures.los_net.holdout import hold_out
    from llmrec.signatures.readers import read_token_table

    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    read = read_token_table(path, k=recipe["k"], vocab_size=recipe["vocab_size"], group="subject")
    found = read.set.where(pl.col("mode") == mode)
    if read.bad:
        print(f"{len(read.bad)} lines left out, the first: {read.bad[0]}", file=sys.stderr)
    learn, rest = hold_out(found.labels, found.groups, 0.5, recipe["seed"])
    if half == "learnt":
        found = found.take(learn)
        learn, rest = hold_out(found.labels, found.groups, 0.5, recipe["seed"])
    train, held = found.take(learn), found.take(rest)
    detector = {**recipe["detector"], "members": MEMBERS}
    if small:
        training = {**detector["training"], "epochs": 2}
        detector = {**detector, "members": 1, "training": training}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, about nested tensors
        model = LOSNet(**detector).fit(train.records, train.labels, train.groups)
    best = np.array([record.topk_logprobs[0, 0] for record in held.records], dtype=np.float64)
    return {
        "labels": held.labels.astype(np.float64),
        "subjects": np.unique(held.groups, return_inverse=True)[1],
        "LOS-Net": model.predict_logit(held.records).astype(np.float64),
        "p-max": -best,
    }
