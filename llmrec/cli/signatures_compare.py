"""``llmrec signatures compare``: LOS-Net, all baselines and the controls in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.signatures_options import (
    FilesArgument,
    GroupOption,
    KOption,
    LabelsOption,
    ModeOption,
    WhereOption,
    log_options,
    read_data,
    say_bad_lines,
)
from llmrec.cli.terminal import JsonOption, print_json, progress

if TYPE_CHECKING:
    from llmrec.signatures.comparison.results import SignatureResult

_DRAWS = 1000
BaselineOption = Annotated[
    list[str] | None, typer.Option(help="Only this baseline; may be given again.")
]
BlindOption = Annotated[str | None, typer.Option(help="Column whose text the blind control reads.")]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of LOS-Net, e.g. training.epochs=60."),
]
FiguresOption = Annotated[
    Path | None, typer.Option(help="Also write the figures to OUTPUT/signatures/NAME.json.")
]


def compare(
    data: FilesArgument,
    labels: LabelsOption = None,
    group: GroupOption = None,
    where: WhereOption = None,
    baseline: BaselineOption = None,
    blind: BlindOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of every learnt method.")] = 3,
    override: OverrideOption = None,
    output: FiguresOption = None,
    name: Annotated[str, typer.Option(help="What the figures are called.")] = "signatures",
    k: KOption = 20,
    mode: ModeOption = "unknown",
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Judge LOS-Net, all baselines and controls on the labelled records of DATA.

    Half of the groups are learnt from, 15 % choose, 10 % calibrate, 25 % are judged on. Intervals
    come from resampling groups; the best baseline is chosen on those 15 %.
    """
    from llmrec.cli.settings import nested_settings
    from llmrec.runs.environment import hardware, source_commit
    from llmrec.signatures.baselines import BASELINES
    from llmrec.signatures.comparison import compare_methods, write_signature_result
    from llmrec.signatures.splits import split_groups

    signatures, bad = read_data(data, log_options(k, mode), group, labels, where)
    say_bad_lines(bad, len(signatures))
    kept = signatures.require_labelled()
    task = "membership" if kept.records[0].kind == "input" else "correctness"
    progress(f"comparing methods on {len(kept):,} labelled records")
    most = max(record.k for record in kept.records)
    found = compare_methods(
        kept,
        split_groups(kept.groups, seed=seed),
        los_net={"k": most, **nested_settings(override or [])},
        task=task,  # type: ignore[arg-type]
        baselines=baseline or BASELINES,
        seeds=tuple(range(seeds)),
        blind=blind,
        group=group or "group",
        draws=_DRAWS,
    )
    result = found.result(
        name,
        ", ".join(path.name for path in data),
        "the text was trained on" if task == "membership" else "the answer is wrong",
        recipe=None,
        commit=source_commit() or "installed",
        test_runs=1,
        hardware=hardware(),
    )
    if output is not None:
        write_signature_result(result, output)
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    _say(result)


def _say(result: "SignatureResult") -> None:
    """The table, the gap to the best baseline, and what could not be judged."""
    from llmrec.signatures.comparison.results import methods_table

    print(methods_table(result))
    gap = result.best_baseline
    if gap is not None:
        print(
            f"\nLOS-Net less {gap.baseline}, the best on validation: {gap.auc:+.4f} "
            f"[{gap.ci95[0]:+.4f}, {gap.ci95[1]:+.4f}]"
        )
    for missing, reason in result.left_out.items():
        progress(f"left out {missing}: {reason}")
