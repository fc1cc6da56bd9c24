"""``llmrec signatures capture``: ask a language model and keep what it was unsure about."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.lm_ask import folders_of, print_plan, progress_bar
from llmrec.cli.lm_options import (
    AdapterOption,
    CacheOption,
    DryRunOption,
    FormOption,
    InputArgument,
    MaxTokensOption,
    ModelArgument,
    SeedOption,
    SettingOption,
    StopOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    UseOption,
    decoding_of,
)
from llmrec.cli.signatures_options import KOption
from llmrec.cli.sources import read_texts
from llmrec.cli.terminal import JsonOption, print_json

_FAILED = 1


def capture(
    model: ModelArgument,
    source: InputArgument = "-",
    output: Annotated[Path, typer.Option(help="Folder of the store.")] = Path("signatures"),
    kind: Annotated[
        str, typer.Option(help="output: of answers that are written; input: of texts as given.")
    ] = "output",
    k: KOption = 20,
    max_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = None,
    stop: StopOption = None,
    adapter: AdapterOption = None,
    use: UseOption = None,
    form: FormOption = "auto",
    cache: CacheOption = None,
    option: SettingOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask MODEL the lines of INPUT and add their signatures to a store; what is there stays.

    A line is a prompt (or, with --kind input, a text), or JSON with "prompt" and, if wanted, "id",
    "label" (1 for risk), "group", further columns, and the fields of a request.
    """
    from llmrec.cli.settings import top_level_settings
    from llmrec.errors import ConfigError, nearest_name
    from llmrec.inference.opening import open_language_model
    from llmrec.signatures import capturing
    from llmrec.signatures.store import SignatureStore

    kinds = ("output", "input")
    if kind not in kinds:
        raise ConfigError(f"unknown kind {kind!r}{nearest_name(kind, kinds)}.")
    defaults: dict[str, Any] = {"logprobs": k, "adapter": use}
    if kind == "output":
        defaults["decoding"] = decoding_of(max_tokens, temperature, top_p, top_k, seed, stop)
    texts, name = read_texts(source)
    questions = capturing.read_questions(texts, kind, defaults, form, name)  # type: ignore[arg-type]
    store = SignatureStore(output)
    opened = open_language_model(
        model, adapters=folders_of(adapter or []), **top_level_settings(option or [])
    )
    if dry_run:
        print_plan(capturing.plan_capture(opened, questions, store, cache), as_json)
        return
    todo = len(capturing.unanswered(questions, store))
    found = capturing.capture(opened, questions, store, cache, progress_bar(todo))
    said = {"store": str(output), "added": found.added, "known": found.known}
    if as_json:
        print_json({**said, "failed": list(found.failed), "records": len(store)})
    else:
        print(f"{output}: {found.added:,} records added, {found.known:,} were there already")
    if found.failed:
        print(
            f"{len(found.failed)} lines failed, the first: {found.failed[0]} "
            "Run it again to ask for them.",
            file=sys.stderr,
        )
        raise typer.Exit(_FAILED)
