"""Committed figures of detectors: one JSON file per task, of one form.

``eval/results/signatures/<task>.json``. Files that do not have this form are refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.results import FileName, SeedFigure
from llmrec.signatures.comparison.bootstrap import METRICS
from llmrec.storage import read_json, write_json
from llmrec.validation import Strict, validated

FOLDER = "signatures"

Kind = Literal["los_net", "single", "learnt", "control"]


class MethodFigures(Strict):
    """A method's figures on the test part.

    Attributes:
        kind: LOS-Net, a single score, a learnt baseline, or a control.
        auc: Over seeds, the interval from resampling groups.
        average_precision: Likewise.
        tpr_at_1_fpr: Share of the risky flagged where 1 % of the others are.
        tpr_at_5_fpr: Likewise at 5 %.
        valid_auc: Mean over seeds on the validation part, by which baselines are chosen.
        ece: Mean over seeds after calibration (Platt) on what :class:`SplitFigures` says; None
            where there is no calibration part or calibration refused.
        seconds: Fitting and scoring, all seeds together.
    """

    kind: Kind
    auc: SeedFigure
    average_precision: SeedFigure
    tpr_at_1_fpr: SeedFigure
    tpr_at_5_fpr: SeedFigure
    valid_auc: float
    ece: float | None
    seconds: NonNegativeFloat


class Difference(Strict):
    """LOS-Net's AUC less that of a baseline.

    Attributes:
        baseline: Its name, chosen on the validation part.
        auc: Difference of the means over seeds.
        ci95: Its paired interval.
        share_of_gap: Difference over what the baseline lacks to 1.
    """

    baseline: str
    auc: float
    ci95: tuple[float, float]
    share_of_gap: float


class SplitFigures(Strict):
    """How the records were split.

    Attributes:
        group: What was not torn.
        hash: Identity of the split.
        records: Number of records by part.
        groups: Number of groups by part.
        risk_share: Share of label 1 by part.
        calibration_folds: Folds of the learning part whose scores by models that had not seen them
            helped to calibrate, together with the validation part; None where the calibration part
            alone was used.
    """

    group: str
    hash: str
    records: dict[str, NonNegativeInt]
    groups: dict[str, NonNegativeInt]
    risk_share: dict[str, float]
    calibration_folds: NonNegativeInt | None = None


class TransferFigures(Strict):
    """A detector of one source on the answers of another; AUC on the target's test part.

    Attributes:
        source: What it was trained on.
        target: What it is judged on.
        zero_shot: As it is.
        tuned: After a short fine-tune on ``labels`` records of the target.
        scratch: Trained on those records alone.
        single: The target's most probable token's probability, or mean log-probability.
        tuned_less_single: Interval of the difference of ``tuned`` and ``single``.
        labels: Number of labels of the target.
        adapted: Fine-tuned and weighed against ``single`` on those records
            (:class:`~llmrec.signatures.los_net.adaptation.AdaptedLOSNet`); None in figures that are
            older than that.
        adapted_less_single: Interval of the difference of ``adapted`` and ``single``.
        commit: That gave these figures, where it is not that of the whole result.
        test_runs: Looks at the test part on the way to them, where they were made by themselves.
    """

    source: str
    target: str
    zero_shot: SeedFigure
    tuned: SeedFigure
    scratch: SeedFigure
    single: SeedFigure
    tuned_less_single: tuple[float, float]
    labels: NonNegativeInt
    adapted: SeedFigure | None = None
    adapted_less_single: tuple[float, float] | None = None
    commit: str | None = None
    test_runs: NonNegativeInt | None = None


class SignatureResult(Strict):
    """Figures of all methods on one task.

    Attributes:
        task: Name of the task; the file is called after it.
        dataset: What the records are of.
        dataset_fingerprint: Hash of labels, groups and values.
        risk: What label 1 means.
        split: Of the records.
        methods: Figures by name.
        left_out: Baselines that the records do not allow, with the reason.
        best_baseline: LOS-Net less the baseline that was best on validation.
        best_single: LOS-Net less the single score that was best on validation.
        transfer: Detectors of other sources on this kind of records.
        about: Anything else that was measured, as plain values.
        seeds: Seeds of the training runs.
        recipe: Recipe file, relative to the project.
        commit: The commit whose code and recipe gave the figures.
        test_runs: How often the test part was looked at on the way to these figures.
        hardware: Processor or accelerator.
        wall_seconds: Everything together.
    """

    task: FileName
    dataset: str
    dataset_fingerprint: str
    risk: str
    split: SplitFigures
    methods: dict[str, MethodFigures]
    left_out: dict[str, str] = Field(default_factory=dict)
    best_baseline: Difference | None
    best_single: Difference | None
    transfer: tuple[TransferFigures, ...] = ()
    about: dict[str, str | int | float | bool | list[float]] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field(min_length=1)
    recipe: str | None
    commit: str
    test_runs: NonNegativeInt
    hardware: str
    wall_seconds: NonNegativeFloat

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for difference in (self.best_baseline, self.best_single):
            if difference is not None and difference.baseline not in self.methods:
                raise ConfigError(f"there are no figures of {difference.baseline}.")
        return self


def write_signature_result(result: SignatureResult, folder: str | Path) -> Path:
    """Write a result to its place under ``folder`` (``eval/results``)."""
    path = Path(folder) / FOLDER / f"{result.task}.json"
    write_json(path, result.model_dump(mode="json"))
    return path


def load_signature_results(folder: str | Path) -> list[SignatureResult]:
    """Read all results of detectors under a folder, by name.

    Raises:
        ArtifactError: A file does not have the form of such a result.
    """
    found = []
    for path in sorted((Path(folder) / FOLDER).glob("*.json")):
        result = validated(SignatureResult, read_json(path), str(path), ArtifactError)
        if path.stem != result.task:
            raise ArtifactError(f"{path} holds the result of {result.task}; its name must be that.")
        found.append(result)
    return found


def methods_table(result: SignatureResult) -> str:
    """Markdown table of a result, best AUC first.

    Args:
        result: Figures of one task.
    """
    lines = [
        f"**{result.task}** ({result.risk}; {result.split.records.get('test', 0):,} records of "
        f"{result.split.groups.get('test', 0):,} groups, "
        f"{100 * result.split.risk_share.get('test', 0):.0f} % risky)",
        "",
        "| method | AUC | AP | TPR at 1 % FPR | TPR at 5 % FPR | ECE | AUC on validation |",
        "|---|---|---|---|---|---|---|",
    ]
    ranked = sorted(result.methods.items(), key=lambda one: -one[1].auc.mean)
    for name, figures in ranked:
        cells = " | ".join(_cell(getattr(figures, metric)) for metric in METRICS)
        ece = "-" if figures.ece is None else f"{figures.ece:.3f}"
        label = f"{name} (control)" if figures.kind == "control" else name
        lines.append(f"| {label} | {cells} | {ece} | {figures.valid_auc:.4f} |")
    return "\n".join(lines)


def summary_table(results: Sequence[SignatureResult]) -> str:
    """Markdown: one row per task, LOS-Net beside the best baselines."""
    lines = [
        "| task | LOS-Net | best baseline | difference | best single score | difference | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ours = result.methods.get("los_net")
        if ours is None:
            continue
        cells = [result.task, _cell(ours.auc)]
        for gap in (result.best_baseline, result.best_single):
            cells += ["-", "-"] if gap is None else _gap(gap, result)
        cells.append("-" if ours.ece is None else f"{ours.ece:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gap(gap: Difference, result: SignatureResult) -> list[str]:
    theirs = result.methods[gap.baseline].auc.mean
    return [
        f"{gap.baseline} {theirs:.4f}",
        f"{gap.auc:+.4f} [{gap.ci95[0]:+.4f}, {gap.ci95[1]:+.4f}]",
    ]


def _cell(figure: SeedFigure) -> str:
    interval = "" if figure.ci95 is None else f" [{figure.ci95[0]:.4f}, {figure.ci95[1]:.4f}]"
    return f"{figure.mean:.4f}{interval}"
