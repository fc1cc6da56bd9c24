"""Judge LOS-Net on a world beside single scores and a control that reads the text alone.

Groups (movies, articles) go to the test part or to the learning part by a hash of their name, so
that a group is on the same side in every world; LOS-Net takes its validation groups from the
learning part. Intervals are percentile bootstraps over the groups of the test part; the
difference to the best single score, chosen on the learning part, is paired.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from settings import WorldSettings
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from worlds import World

from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net import LOSNet

Floats = npt.NDArray[np.float64]

_TEST_TENTHS = 4
_DRAWS = 1000


def judge(world: World, settings: WorldSettings) -> tuple[dict[str, Any], list[LOSNet]]:
    """Figures of the test part, and the detectors, one per seed."""
    labels = world.examples["label"].to_numpy().astype(np.float32)
    groups = world.examples["group"].to_list()
    learn, test = learn_and_test(groups)
    singles = single_scores(world.records)
    best = max(singles, key=lambda name: auc(labels[learn], singles[name][learn]))
    detectors, risks = [], []
    for seed in settings.detector_seeds:
        model = LOSNet(settings.detector_config(seed))
        model.fit([world.records[i] for i in learn], labels[learn], [groups[i] for i in learn])
        detectors.append(model)
        risks.append(model.predict_logit([world.records[i] for i in test]).astype(np.float64))
    codes = np.unique([groups[i] for i in test], return_inverse=True)[1]
    ours = {
        f"los_net seed {seed}": r for seed, r in zip(settings.detector_seeds, risks, strict=True)
    }
    scores = {
        "los_net": np.mean(risks, axis=0),
        **ours,
        **{name: values[test] for name, values in singles.items()},
        "text_only": text_only(world.examples["question"].to_list(), labels, learn, test),
    }
    figures = intervals(labels[test], scores, codes, settings.seed, ("los_net", best))
    return {
        "n_learn": int(learn.size),
        "n_test": int(test.size),
        "label_share": round(float(labels[test].mean()), 4),
        "best_single": best,
        **figures,
    }, detectors


def learn_and_test(
    groups: Sequence[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to learn from and rows to test on, by the names of their groups."""
    sides = [hashlib.sha256(group.encode()).digest()[0] % 10 < _TEST_TENTHS for group in groups]
    return np.flatnonzero(np.logical_not(sides)), np.flatnonzero(sides)


def single_scores(records: Sequence[SignatureRecord]) -> dict[str, Floats]:
    """One number per record under each name; larger means risk, or a lesser known text."""
    found: dict[str, list[float]] = {}
    for record in records:
        logprob = record.actual_logprob if len(record) else np.zeros(1, dtype=np.float32)
        entropy = np.zeros(1) if record.weighted_mean is None else -record.weighted_mean
        lowest = np.sort(logprob)[: max(1, len(logprob) // 5)]
        values = {
            "mean_logprob": -logprob.mean(),
            "min_logprob": -logprob.min(),
            "sum_logprob": -logprob.sum(),
            "min_20_percent": -lowest.mean(),
            "mean_entropy": entropy.mean(),
            "max_entropy": entropy.max(),
            "length": len(record),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return {
        f"{sign}{name}": factor * np.array(values)
        for name, values in found.items()
        for sign, factor in (("", 1.0), ("-", -1.0))
    }


def text_only(
    texts: Sequence[str],
    labels: npt.NDArray[np.float32],
    learn: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
) -> Floats:
    """Log-odds of a classifier that sees the words alone: what can be told without the model."""
    words = HashingVectorizer(ngram_range=(1, 2), n_features=2**18).transform(texts)
    blind = LogisticRegression(max_iter=500, C=10.0).fit(words[learn], labels[learn])
    return np.asarray(blind.decision_function(words[test]), dtype=np.float64)


def intervals(
    labels: npt.NDArray[np.float32],
    scores: Mapping[str, Floats],
    codes: npt.NDArray[np.int64],
    seed: int,
    pair: tuple[str, str],
) -> dict[str, Any]:
    """AUC of every score with its interval, and the paired difference of two."""
    rng = np.random.default_rng([seed, 3])
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(_DRAWS):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        for name, values in scores.items():
            drawn[name].append(auc(labels[rows], values[rows]))
    figures = {
        name: {"auc": round(auc(labels, values), 4), "ci95": _ci(drawn[name])}
        for name, values in scores.items()
    }
    gap = np.subtract(drawn[pair[0]], drawn[pair[1]])
    difference = auc(labels, scores[pair[0]]) - auc(labels, scores[pair[1]])
    return {
        "auc": figures,
        "gain_over_best_single": {"auc": round(difference, 4), "ci95": _ci(gap)},
        "share_of_gap_closed": round(difference / max(1e-9, 1 - auc(labels, scores[pair[1]])), 4),
    }


def _ci(values: npt.ArrayLike) -> list[float]:
    return [round(float(v), 4) for v in np.nanpercentile(values, [2.5, 97.5])]
