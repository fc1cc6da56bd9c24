"""World (c): detectors of one language model on the answers of another.

A group is on the same side in every world, so nothing that is tested was learnt from anywhere.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from judging import learn_and_test, single_scores
from worlds import World

from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.los_net import LOSNet

_LABELS = 200


def transfer_table(
    worlds: Mapping[str, World], detectors: Mapping[str, list[LOSNet]], seed: int
) -> dict[str, Any]:
    """AUC of every detector on every world: as it is, after 200 labels, and from scratch on those.

    Args:
        worlds: By name.
        detectors: Those of each world, one per seed; the first is used.
        seed: Of the draw of the 200 labels.
    """
    return {
        f"{source} -> {target}": _pair(models[0], world, seed)
        for source, models in detectors.items()
        for target, world in worlds.items()
        if source != target
    }


def _pair(model: LOSNet, world: World, seed: int) -> dict[str, Any]:
    labels = world.examples["label"].to_numpy().astype(np.float32)
    groups = world.examples["group"].to_list()
    learn, test = learn_and_test(groups)
    few = np.random.default_rng([seed, 4]).permutation(learn)[:_LABELS]
    shown = [world.records[i] for i in few]
    tested = [world.records[i] for i in test]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another tokenizer is the point here
        as_it_is = model.predict_logit(tested, on_mismatch="warn")
    tuned = model.fine_tune(shown, labels[few])
    scratch = LOSNet(model.config).fit(shown, labels[few], [groups[i] for i in few])
    single = auc(labels[test], single_scores(tested)["mean_logprob"])
    return {
        "n_test": int(test.size),
        "as_it_is": round(auc(labels[test], as_it_is), 4),
        "after_200_labels": round(auc(labels[test], tuned.predict_logit(tested)), 4),
        "from_scratch_on_200": round(auc(labels[test], scratch.predict_logit(tested)), 4),
        "mean_logprob": round(max(single, 1 - single), 4),
    }
