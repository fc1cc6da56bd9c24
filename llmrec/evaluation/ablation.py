"""Committed ablations: variants of one model on one task, each with its paired difference.

``eval/results/ablations/<name>.json`` holds them. The first variant is the reference; differences
are taken user by user, the values of several seeds averaged first. Figures on the test part never
chose anything here: every variant is fixed before it is trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from llmrec.errors import ArtifactError, ConfigError
from llmrec.evaluation.comparison import compare
from llmrec.evaluation.outcome import Evaluation
from llmrec.evaluation.results import FileName, SeedFigure, figures_over_seeds
from llmrec.storage import read_json, write_json
from llmrec.validation import Strict, validated

ABLATIONS = "ablations"


class Difference(Strict):
    """A variant minus the reference.

    Attributes:
        mean: Over users.
        ci95: 95 % interval of the paired bootstrap over users.
        p: Two-sided sign-flip test, Holm-corrected over the variants.
    """

    mean: float
    ci95: tuple[float, float]
    p: float


class Variant(Strict):
    """One row of an ablation.

    Attributes:
        name: What is different.
        overrides: The settings that make the difference, as ``dotted.name=value``.
        figure: The metric on the test part.
        validation: The metric on the validation part.
        difference: To the reference, on the test part; None for the reference itself.
        seconds: Training time, mean over seeds.
    """

    name: str = Field(min_length=1)
    overrides: tuple[str, ...] = ()
    figure: SeedFigure
    validation: SeedFigure
    difference: Difference | None
    seconds: NonNegativeFloat


class Ablation(Strict):
    """Variants of a recipe.

    Attributes:
        name: Name of the ablation.
        task: The task that all were judged on.
        metric: The metric shown.
        recipe: The recipe that variants start from.
        seeds: Seeds of every variant.
        variants: The reference first.
        n_users: Users judged.
        commit: The commit whose code and recipe gave the figures.
        test_runs: How often the test part was looked at for this table.
        hardware: Processor or accelerator.
    """

    name: FileName
    task: FileName
    metric: str
    recipe: str
    seeds: tuple[int, ...] = Field(min_length=1)
    variants: tuple[Variant, ...] = Field(min_length=1)
    n_users: NonNegativeInt
    commit: str
    test_runs: NonNegativeInt
    hardware: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for place, variant in enumerate(self.variants):
            if (variant.difference is None) != (place == 0):
                raise ConfigError(f"{variant.name}: all but the first variant need a difference.")
            if len(variant.figure.per_seed) != len(self.seeds):
                raise ConfigError(f"{variant.name} has not one value per seed.")
        return self


def make_variants(
    test: Mapping[str, Sequence[Evaluation]],
    validation: Mapping[str, Sequence[Evaluation]],
    overrides: Mapping[str, Sequence[str]],
    seconds: Mapping[str, float],
    metric: str,
) -> tuple[Variant, ...]:
    """Judge variants against the first.

    Args:
        test: Variant to the evaluations of its seeds on the test part, the reference first.
        validation: The same on the validation part.
        overrides: Variant to the settings that make it.
        seconds: Variant to its mean training time.
        metric: The metric.

    Raises:
        ProtocolError: The evaluations differ in protocol or users.
    """
    reference = next(iter(test))
    differences: dict[str, Difference] = {}
    if len(test) > 1:
        for row in compare(test, [metric], reference).iter_rows(named=True):
            ends = (row["ci_low"], row["ci_high"])
            differences[row["model"]] = Difference(
                mean=row["difference"], ci95=ends, p=row["p_holm"]
            )
    return tuple(
        Variant(
            name=name,
            overrides=tuple(overrides[name]),
            figure=figures_over_seeds(evaluations)[metric],
            validation=figures_over_seeds(validation[name])[metric],
            difference=differences.get(name),
            seconds=round(seconds[name], 1),
        )
        for name, evaluations in test.items()
    )


def write_ablation(ablation: Ablation, folder: str | Path) -> Path:
    """Write an ablation to its place under ``folder`` (``eval/results``)."""
    path = Path(folder) / ABLATIONS / f"{ablation.name}.json"
    write_json(path, ablation.model_dump(mode="json"))
    return path


def load_ablations(folder: str | Path) -> list[Ablation]:
    """Read all ablations under a folder, by name.

    Raises:
        ArtifactError: A file does not have the form of an ablation.
    """
    paths = sorted((Path(folder) / ABLATIONS).glob("*.json"))
    return [validated(Ablation, read_json(path), str(path), ArtifactError) for path in paths]


def ablation_table(ablation: Ablation) -> str:
    """A Markdown table, one row per variant."""
    seeds = f"{len(ablation.seeds)} seeds" if len(ablation.seeds) > 1 else "1 seed"
    lines = [
        f"**{ablation.task}**, {ablation.metric}, {ablation.n_users:,} users, {seeds}",
        "",
        f"| variant | {ablation.metric} | difference to the first | valid | seconds a seed |",
        "|---|---|---|---|---|",
    ]
    for variant in ablation.variants:
        difference = "-"
        if variant.difference is not None:
            low, high = variant.difference.ci95
            difference = f"{variant.difference.mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(
            f"| {variant.name} | {variant.figure.mean:.4f} | {difference} | "
            f"{variant.validation.mean:.4f} | {variant.seconds:.0f} |"
        )
    return "\n".join(lines)
