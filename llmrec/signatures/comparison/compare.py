"""One call: LOS-Net, all baselines and the controls on one split, with intervals.

Everything is chosen on the validation part; the test part gives figures alone. Every method is
judged by its log-odds, which do not saturate. Controls: length, the words of the text, and LOS-Net
on shuffled labels.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.evaluation.results import SeedFigure
from llmrec.signatures.baselines import BASELINES, CONTROLS, SINGLE_SCORES, make_baseline
from llmrec.signatures.baselines.named import uses_seed
from llmrec.signatures.comparison.bootstrap import METRICS, Resampled, resample
from llmrec.signatures.comparison.calibrating import calibrated_ece
from llmrec.signatures.comparison.methods import MethodScores, Parts, run_method
from llmrec.signatures.comparison.results import (
    Difference,
    Kind,
    MethodFigures,
    SignatureResult,
    SplitFigures,
)
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.config import Task, make_config
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import GroupSplit, require_disjoint

LOS_NET, SHUFFLED = "los_net", "shuffled_labels"
PARTS = ("learn", "valid", "calibrate", "test")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        parts: The records by part.
        scores: Log-odds by method.
        figures: Figures by method.
        best_baseline: LOS-Net less the best baseline, or None without LOS-Net or baselines.
        best_single: LOS-Net less the best single score.
        left_out: Baselines that the records do not allow, with the reason.
        split: What was split how.
        seconds: Everything together.
    """

    parts: Parts
    scores: Mapping[str, MethodScores]
    figures: Mapping[str, MethodFigures]
    best_baseline: Difference | None
    best_single: Difference | None
    left_out: Mapping[str, str]
    split: SplitFigures
    seconds: float
    seeds: tuple[int, ...]
    fingerprint: str = field(repr=False)

    def result(self, task: str, dataset: str, risk: str, **about: Any) -> SignatureResult:
        """The figures as a result that can be committed.

        Args:
            task: Its name.
            dataset: What the records are of.
            risk: What label 1 means.
            about: The other fields of a result: recipe, commit, test_runs, hardware.
        """
        given = {"wall_seconds": round(self.seconds, 1), **about}
        return SignatureResult(
            task=task,
            dataset=dataset,
            dataset_fingerprint=self.fingerprint,
            risk=risk,
            split=self.split,
            methods=dict(self.figures),
            left_out=dict(self.left_out),
            best_baseline=self.best_baseline,
            best_single=self.best_single,
            seeds=self.seeds,
            **given,
        )


def compare_methods(
    signatures: SignatureSet,
    split: GroupSplit,
    *,
    los_net: Mapping[str, Any] | None = None,
    task: Task = "correctness",
    baselines: Sequence[str] = BASELINES,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    baseline_seeds: Sequence[int] | None = None,
    training: Mapping[str, Any] | None = None,
    blind: str | None = None,
    shuffled: bool = True,
    group: str = "group",
    draws: int = 1000,
    folds: int | None = None,
) -> Comparison:
    """Fit and judge all methods on one split.

    Args:
        signatures: Labelled records.
        split: Parts ``learn``, ``valid``, ``test``, and ``calibrate`` where there is one.
        los_net: Settings of LOS-Net; None leaves it out.
        task: What risk means.
        baselines: Names of baselines.
        seeds: Of LOS-Net, and of baselines that use one.
        baseline_seeds: Of baselines that use one, where they are to be others.
        training: Changed training settings of the baselines ``atp_transformer`` and ``atp_mlp``.
        blind: Column whose text the bag of words reads instead of the record's own.
        shuffled: Whether to train LOS-Net on shuffled labels, too: .5 on average over seeds. Where
            records hardly differ in more than one direction, one seed alone may be far from it.
        group: What is not torn, for the result.
        draws: Resamples for intervals.
        folds: Calibrate on all groups but the tested ones: so many more trainings per method and
            seed judge the groups of the learning part that they have not seen. None calibrates on
            the calibration part alone.

    Raises:
        DataError: A record has no label, or a part has labels of one class.
        ConfigError: There is no such baseline, or no method at all.
        ProtocolError: A group is in two parts.

    Example:
        >>> from llmrec.signatures.splits import split_groups
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> found = SignatureSet.of(*labelled_signatures(200, seed=0))
        >>> split = split_groups(found.groups)
        >>> table = compare_methods(found, split, baselines=["mean_logprob", "length"], draws=50)
        >>> sorted(table.figures)
        ['length', 'mean_logprob']
    """
    started = time.perf_counter()
    parts = _parts(signatures, split)
    several = seeds if baseline_seeds is None else baseline_seeds
    scores, left_out = _baseline_scores(
        parts, baselines, several, blind, folds, partial(_baseline, task, training)
    )
    if los_net is not None:
        make_net = partial(_los_net, dict(los_net), task)
        scores[LOS_NET] = run_method(make_net, "los_net", parts, seeds, folds=folds)
        if shuffled:
            scores[SHUFFLED] = run_method(make_net, "control", parts, seeds, shuffle=True)
    if not scores:
        raise ConfigError("there is no method to compare; name baselines, or give los_net.")
    rows, resampled = _resampled(parts, scores, draws)
    figures = {name: _figures(name, parts, scores[name], rows, resampled) for name in scores}
    return Comparison(
        parts,
        scores,
        figures,
        _difference(figures, rows, resampled, ("single", "learnt")),
        _difference(figures, rows, resampled, ("single",)),
        left_out,
        _split_figures(parts, split, group, folds),
        time.perf_counter() - started,
        tuple(seeds),
        fingerprint_of(signatures),
    )


def fingerprint_of(signatures: SignatureSet) -> str:
    """16 hexadecimal digits of ids, labels, groups and log-probabilities."""
    digest = hashlib.sha256()
    for column in ("id", "label", "group"):
        digest.update(repr(signatures.examples[column].to_list()).encode())
    for record in signatures.records:
        digest.update(record.topk_logprobs.astype(np.float16).tobytes())
    return digest.hexdigest()[:16]


def _parts(signatures: SignatureSet, split: GroupSplit) -> Parts:
    groups = signatures.groups
    known = set(split.parts.values())
    rows = {
        part: split.rows(part, groups) if part in known else np.empty(0, dtype=np.int64)
        for part in PARTS
    }
    require_disjoint({part: [groups[i] for i in found] for part, found in rows.items()})
    sets = {part: signatures.take(found) for part, found in rows.items()}
    for part, found in sets.items():
        labels = found.labels
        empty_is_fine = part == "calibrate" and not labels.size
        if not empty_is_fine and (not labels.size or labels.min() == labels.max()):
            raise DataError(
                f"the part {part} has {labels.size} records of one label only; it needs both."
            )
    return Parts(**sets)


def _baseline_scores(
    parts: Parts,
    names: Sequence[str],
    seeds: Sequence[int],
    blind: str | None,
    folds: int | None,
    make: Callable[[str, int], Any],
) -> tuple[dict[str, MethodScores], dict[str, str]]:
    """Scores by baseline, and why the others cannot be had of these records."""
    scores: dict[str, MethodScores] = {}
    left_out: dict[str, str] = {}
    for name in names:
        own = _blind(parts, blind) if name == "bag_of_words" and blind else parts
        each = seeds if uses_seed(name) else seeds[:1]
        try:
            scores[name] = run_method(partial(make, name), _kind(name), own, each, folds=folds)
        except DataError as error:
            left_out[name] = str(error)
    return scores, left_out


def _blind(parts: Parts, column: str) -> Parts:
    """The same parts whose records have another text."""
    changed = {}
    for name, part in vars(parts).items():
        if column not in part.examples.columns:
            raise DataError(f"the records have no column {column!r} to read blindly.")
        texts = part.examples[column].to_list()
        records = [replace(r, text=t or "") for r, t in zip(part.records, texts, strict=True)]
        changed[name] = SignatureSet(records, part.examples)
    return Parts(**changed)


def _baseline(task: Task, training: Mapping[str, Any] | None, name: str, seed: int) -> Any:
    return make_baseline(name, task, seed, training)


def _los_net(options: dict[str, Any], task: Task, seed: int) -> LOSNet:
    training = {**options.get("training", {}), "seed": seed}
    return LOSNet(make_config({**options, "task": task, "training": training}))


def _kind(name: str) -> Kind:
    if name in CONTROLS:
        return "control"
    return "single" if name in SINGLE_SCORES else "learnt"


def _resampled(
    parts: Parts, scores: Mapping[str, MethodScores], draws: int
) -> tuple[dict[str, list[int]], Resampled]:
    """Which rows of all scores are a method's, and the figures of all rows."""
    rows: dict[str, list[int]] = {}
    start = 0
    for name, found in scores.items():
        rows[name] = list(range(start, start + len(found.test)))
        start += len(found.test)
    every = np.concatenate([found.test for found in scores.values()])
    return rows, resample(parts.test.labels, every, parts.test.groups, draws=draws)


def _figures(
    name: str,
    parts: Parts,
    scores: MethodScores,
    rows: Mapping[str, list[int]],
    resampled: Resampled,
) -> MethodFigures:
    figures = {}
    for place, metric in enumerate(METRICS):
        values = resampled.value[rows[name], place]
        low, high = resampled.interval(rows[name], place)
        figures[metric] = SeedFigure(
            mean=float(values.mean()),
            ci95=(float(low), float(high)),
            per_seed=tuple(float(value) for value in values),
        )
    valid = [auc(parts.valid.labels, one) for one in scores.valid]
    return MethodFigures(
        kind=scores.kind,
        **figures,
        valid_auc=float(np.mean(valid)),
        ece=calibrated_ece(parts, scores),
        seconds=round(scores.seconds, 2),
    )


def _difference(
    figures: Mapping[str, MethodFigures],
    rows: Mapping[str, list[int]],
    resampled: Resampled,
    kinds: Sequence[Kind],
) -> Difference | None:
    """LOS-Net less the method of those kinds that was best on validation."""
    others = [name for name, found in figures.items() if found.kind in kinds]
    if LOS_NET not in figures or not others:
        return None
    best = max(others, key=lambda name: figures[name].valid_auc)
    ours, theirs = figures[LOS_NET].auc.mean, figures[best].auc.mean
    low, high = resampled.interval(rows[LOS_NET], 0, minus=rows[best])
    return Difference(
        baseline=best,
        auc=ours - theirs,
        ci95=(float(low), float(high)),
        share_of_gap=(ours - theirs) / max(1 - theirs, 1e-9),
    )


def _split_figures(parts: Parts, split: GroupSplit, group: str, folds: int | None) -> SplitFigures:
    sets = {name: part for name, part in vars(parts).items() if len(part)}
    return SplitFigures(
        group=group,
        hash=split.hash,
        records={name: len(part) for name, part in sets.items()},
        groups={name: len(set(part.groups)) for name, part in sets.items()},
        risk_share={name: float(part.labels.mean()) for name, part in sets.items()},
        calibration_folds=folds,
    )
