"""A detector of one source on another: as it is, after a few labels, and trained on those alone.

After a few labels it is judged twice: fine-tuned, and fine-tuned and weighed against a plain score.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrec.evaluation.results import SeedFigure
from llmrec.signatures.baselines import score_records
from llmrec.signatures.comparison.bootstrap import Resampled, resample
from llmrec.signatures.comparison.results import TransferFigures
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.adaptation import AdaptedLOSNet
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import GroupSplit

_LABELLED_SEED = 23


def transfer_figures(
    source: str,
    target: str,
    models: Sequence[Any],
    signatures: SignatureSet,
    split: GroupSplit,
    labels: int,
    single: str = "max_probability",
) -> TransferFigures:
    """Judge the detectors of one source, one per seed, on the test part of another.

    Args:
        source: Name of the source.
        target: Name of the other.
        models: Fitted LOS-Nets, one per seed; every seed draws other records to tune with.
        signatures: Records of the target.
        split: The split that the detectors were trained with: no group is tested that they know.
        labels: How many records of the target's learning part are shown.
        single: The score to compare with, and to weigh against.
    """
    learn = split.rows("learn", signatures.groups)
    test = signatures.take(split.rows("test", signatures.groups))
    zero_shot, tuned, scratch, adapted = [], [], [], []
    for seed, model in enumerate(models):
        drawn = np.random.default_rng([_LABELLED_SEED, seed]).permutation(learn)[:labels]
        few = signatures.take(drawn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another source is the point here
            zero_shot.append(model.predict_logit(test.records, on_mismatch="warn"))
            both = AdaptedLOSNet(model, single).fit(few.records, few.labels)
            tuned.append(both.tuned.predict_logit(test.records, on_mismatch="warn"))
            adapted.append(both.predict_logit(test.records, on_mismatch="warn"))
            alone = LOSNet(model.config).fit(few.records, few.labels)
            scratch.append(alone.predict_logit(test.records, on_mismatch="warn"))
    sign = 1.0 if models[0].config.task == "correctness" else -1.0
    surprise = sign * np.nan_to_num(score_records(single, test.records))
    every = np.stack([*zero_shot, *tuned, *scratch, *adapted, surprise])
    found = resample(test.labels, every, test.groups)
    n = len(models)
    places = [list(range(start, start + n)) for start in range(0, 4 * n, n)]
    last = [4 * n]
    low, high = found.interval(places[1], 0, minus=last).tolist()
    below, above = found.interval(places[3], 0, minus=last).tolist()
    return TransferFigures(
        source=source,
        target=target,
        zero_shot=_figure(found, places[0]),
        tuned=_figure(found, places[1]),
        scratch=_figure(found, places[2]),
        single=_figure(found, last),
        tuned_less_single=(low, high),
        labels=labels,
        adapted=_figure(found, places[3]),
        adapted_less_single=(below, above),
    )


def _figure(found: Resampled, rows: list[int]) -> SeedFigure:
    values: npt.NDArray[np.float64] = found.value[rows, 0]
    low, high = found.interval(rows, 0)
    return SeedFigure(
        mean=float(values.mean()), ci95=(float(low), float(high)), per_seed=tuple(values.tolist())
    )
