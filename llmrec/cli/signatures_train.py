"""``llmrec signatures train``: a detector from labelled records."""

from pathlib import Path
from typing import Annotated, Any

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

_BUDGET = 0.1


def train(
    data: FilesArgument,
    output: Annotated[Path, typer.Option(help="Folder of the detector.")] = Path("detector"),
    method: Annotated[
        str, typer.Option(help="los_net, logistic, boosting, or a single score like mean_logprob.")
    ] = "los_net",
    labels: LabelsOption = None,
    group: GroupOption = None,
    where: WhereOption = None,
    alpha: Annotated[
        float | None, typer.Option(help="Error budget among what is answered, certified.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Probability of breaking that budget.")] = 0.05,
    false_alarms: Annotated[
        float | None, typer.Option(help="Or: share of right answers that may be flagged.")
    ] = None,
    precision: Annotated[
        float | None, typer.Option(help="Or: share of the flagged that has to be wrong.")
    ] = None,
    costs: Annotated[
        str | None, typer.Option(help="Or: cost of a miss and of a false alarm, as 5:1.")
    ] = None,
    calibrate_share: Annotated[float, typer.Option(help="Records to calibrate by.")] = 0.2,
    test_share: Annotated[float, typer.Option(help="Records to judge by.")] = 0.2,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of LOS-Net, e.g. training.epochs=60."),
    ] = None,
    k: KOption = 20,
    mode: ModeOption = "unknown",
    seed: Annotated[int, typer.Option(help="Of the split and of the training.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a detector on the labelled records of DATA, calibrate it, and choose its threshold.

    Label 1 is risk: a wrong answer, or a text that was trained on. Groups (a question, a document)
    are never torn. Without a rule for the threshold, an error budget of 10 % is certified.
    """
    from llmrec.cli.settings import nested_settings
    from llmrec.signatures.making import Rule, make_detector, make_scorer

    others = (false_alarms, precision, _costs(costs))
    budget = _BUDGET if alpha is None and others == (None, None, None) else alpha
    rule = Rule(budget, delta, *others)
    signatures, bad = read_data(data, log_options(k, mode), group, labels, where)
    say_bad_lines(bad, len(signatures))
    task = "membership" if signatures.records[0].kind == "input" else "correctness"
    most = max(record.k for record in signatures.records)
    scorer = make_scorer(method, task, seed, nested_settings(override or []), most)  # type: ignore[arg-type]
    progress(f"training {method} on {len(signatures):,} records")
    detector, card = make_detector(scorer, signatures, rule, calibrate_share, test_share, seed)
    card["method"] = method
    detector.save_pretrained(output)
    if as_json:
        print_json({"detector": str(output), **card})
        return
    _say(card, output)


def _costs(text: str | None) -> tuple[float, float] | None:
    from llmrec.errors import ConfigError

    if text is None:
        return None
    missed, colon, alarm = text.partition(":")
    try:
        return float(missed), float(alarm if colon else "x")
    except ValueError:
        raise ConfigError(f"--costs {text!r} is not of the form MISS:FALSE_ALARM, like 5:1.") from (
            None
        )


def _say(card: dict[str, Any], output: Path) -> None:
    parts, found = card["records"], card["test"]
    print(
        f"{card['method']}: learnt from {parts['learn']:,} records, calibrated by "
        f"{parts['calibrate']:,}, judged by {parts['test']:,}"
    )
    ends = found["auc_ci95"]
    interval = f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""
    print(f"AUC {found['auc']:.3f}{interval}, ECE {found['ece']:.3f}, Brier {found['brier']:.3f}")
    print(card["threshold"])
    if found["wrong_among_answered"] is not None:
        print(
            f"in the part to judge by: {found['answered']:.1%} answered, of which "
            f"{found['wrong_among_answered']:.1%} wrong (of all, {found['wrong']:.1%})"
        )
    print(f"saved in {output}; next: llmrec signatures score {output} < responses.jsonl")
