"""What a trained model of judged pairs says, and what its parts say; see ``judged_controls.py``."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.adapters.clusters import fit_centroids, nearest_centroids
from llmrec.data.histories import Histories
from llmrec.data.splits import LabelledCases

Scores = npt.NDArray[np.float64]
CENTROIDS = "centroids-"


def outputs(
    model: Any, cases: LabelledCases, wanted: set[str], people: Histories
) -> dict[str, Scores]:
    """Probabilities of all pairs, of a model and of its parts.

    Args:
        model: A trained CTR model or RecLoRA.
        cases: The pairs.
        wanted: Names of outputs; all but ``score`` are of RecLoRA alone.
        people: Whose gates centroids are fitted to, a row each.
    """
    histories = cases.histories.with_vocabulary(model.vocabulary)
    if model.name != "reclora":
        return {"score": model.score_pairs(histories, cases.items)}
    return {
        name: 1 / (1 + np.exp(-odds.astype(np.float64)))
        for name, odds in _odds(model, histories, cases.items, wanted, people)
        if name in wanted
    }


def _odds(
    model: Any, histories: Histories, items: Any, wanted: set[str], people: Histories
) -> Iterator[tuple[str, Any]]:
    ranker = model.ranker
    pairs = ranker.prepare(histories, items)
    score = ranker.pair_odds(pairs)
    yield "score", score
    if "base" in wanted:
        yield "base", ranker.base_odds(pairs)
    if "swapped" in wanted:
        order = np.random.default_rng(0).permutation(len(items))
        yield "swapped", ranker.pair_odds(pairs.with_inputs(pairs.inputs[order]))
    if wanted & {"ctr", "both"}:
        own = np.clip(model.ctr.score_pairs(histories, items).astype(np.float64), 1e-6, 1)
        ctr = np.log(own / np.maximum(1 - own, 1e-6))
        yield "ctr", ctr
        yield "both", (ctr + score) / 2
    names = sorted(name for name in wanted if name.startswith(CENTROIDS))
    if not names:
        return
    gates, everybody = ranker.weights(pairs.inputs, pairs.lengths), model.gates(people)
    for name in names:
        centroids = fit_centroids(everybody, int(name.removeprefix(CENTROIDS)))
        shared = centroids[nearest_centroids(gates.numpy(), centroids)]
        yield name, ranker.judge.pairs(pairs.beginnings, items, gates.new_tensor(shared))
