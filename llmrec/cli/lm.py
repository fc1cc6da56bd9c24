"""``llmrec lm``: make a tiny language model, ask any language model, look at prompts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.lm_ask import generate, merge, score
from llmrec.cli.terminal import JsonOption, print_json, print_table, printable, progress

app = typer.Typer(
    rich_markup_mode=None, help="Train a tiny language model, ask language models, show prompts."
)

app.command(short_help="Continue prompts.")(generate)
app.command(short_help="How probable are texts?")(score)
app.command(short_help="Put the shards of a job together.")(merge)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="A data set; 'llmrec data list' names them.")
    ],
    task: Annotated[
        str | None, typer.Option(help="Split as this task does.  [default: leave_one_out]")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Size: small, large, compact (minutes), test (seconds).")
    ] = "small",
    text: Annotated[
        list[Path] | None, typer.Option("--text", help="A further text file; may be given again.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, e.g. training.epochs=3 or layers=6."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Another folder than that of tiny:DATASET@HASH.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest whole checkpoint.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model made with other settings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a tiny language model on the catalogue of DATASET and its training events."""
    from llmrec.data.named import load_dataset
    from llmrec.data.splits import make_split
    from llmrec.evaluation.tasks import load_task

    split_by = None if task is None else load_task(task)
    config = _config(preset, override or [])
    data = load_dataset(dataset)
    split = make_split(data, "leave_one_out") if split_by is None else split_by.split(data)
    from llmrec.tiny_lm.making import train_tiny

    progress(f"training on {dataset}, split {split.name} {split.hash}")
    made = train_tiny(
        split, config, texts=text or [], folder=output, resume=resume, replace=replace
    )
    name = f"tiny:{dataset}@{split.hash}" if output is None else str(output)
    if as_json:
        print_json({"name": name, "folder": str(made.folder), "trained": made.trained})
        return
    _print_model(name, made.folder, made.metrics, made.trained)


def _config(preset: str, overrides: list[str]) -> Any:
    """The settings; the fast number format of this machine unless one is asked for."""
    from llmrec.cli.settings import nested_settings
    from llmrec.tiny_lm.config import make_config

    make_config(preset)  # what is wrong with the name is said before anything heavy is loaded
    changes = nested_settings(overrides)
    training = changes.get("training", {})
    if isinstance(training, dict) and "precision" not in training:
        from llmrec.tiny_lm.making import fast_precision

        changes["training"] = {"precision": fast_precision(), **training}
    return make_config(preset, **changes)


def _print_model(name: str, folder: Path, metrics: Any, trained: bool) -> None:
    held_out, seconds = metrics["held_out"], metrics["seconds"]
    made = f"trained in {sum(seconds.values()):.0f} s" if trained else "was there already"
    print(f"{name}: {made}, saved in {folder}")
    if "texts" in held_out:
        texts = held_out["texts"]
        print(
            f"perplexity of held-out events {texts['perplexity']:.2f}; "
            f"trigram {texts['trigram']:.2f}, unigram {texts['unigram']:.2f}"
        )
    for action in ("like", "choose"):
        if held_out.get(action, {}).get("auc") is not None:
            found = held_out[action]
            print(
                f"will the user {action} it? AUC of P(Yes) {found['auc']:.3f}; "
                f"the item's average alone {found['auc_item_average']:.3f}"
            )
    print(f"next: echo 'Will the user like' | llmrec lm generate {name}")


@app.command()
def prompts(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A template, or a file of your own.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="Value of a variable in YAML, e.g. titles=[Heat, Alien]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the prompt templates, or show NAME with its variables and filled with examples."""
    from llmrec.templates import load_template, template_names

    if name is None:
        listed = [load_template(each) for each in template_names()]
        if as_json:
            print_json([_about(template) for template in listed])
            return
        rows = [
            (each.name, each.version, ", ".join(each.variables), each.used_by) for each in listed
        ]
        print_table(("name", "version", "variables", "used by"), rows)
        return
    from llmrec.cli.settings import top_level_settings
    from llmrec.inference.prompts import fill

    template = load_template(name)
    given = top_level_settings(override or [])
    values = {variable: _example(variable) for variable in template.variables} | given
    text = fill(template, values)
    if as_json:
        print_json({**_about(template), "values": values, "filled": text})
        return
    print(f"{template.name}, version {template.version}, used by {template.used_by}\n")
    for variable, sentence in template.variables.items():
        print(f"  {variable}: {sentence}")
    print(f"\n{printable_lines(text)}")


def printable_lines(text: str) -> str:
    """A text without what could steer a terminal; line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _about(template: Any) -> dict[str, Any]:
    names = ("name", "version", "used_by", "fingerprint")
    about = {name: getattr(template, name) for name in names}
    return about | {"variables": dict(template.variables)}


_EXAMPLES: dict[str, Any] = {
    "title": "Alien (1979)",
    "brand": "",
    "categories": ["Horror", "Sci-Fi"],
    "brands": [],
    "description": "A crew meets a stowaway.",
    "facts": [["Length", "117 minutes"]],
    "histories": [["Blade Runner (1982)", "Alien (1979)"]],
    "titles": ["Blade Runner (1982)", "Heat (1995)"],
    "opinions": [["Blade Runner (1982)", True], ["Anaconda (1997)", False]],
    "chosen": [],
    "candidates": ["Alien (1979)", "Heat (1995)", "Up (2009)"],
    "action": "like",
}


def _example(variable: str) -> Any:
    """An example value; a variable that is not known here gets a list of two names."""
    return _EXAMPLES.get(variable, [f"<{variable} 1>", f"<{variable} 2>"])
