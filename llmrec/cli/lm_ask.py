"""``llmrec lm generate``, ``score`` and ``merge``: many questions to a language model."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmrec.cli.lm_options import (
    AdapterOption,
    CacheOption,
    DryRunOption,
    FormOption,
    InputArgument,
    LogprobsOption,
    MaxTokensOption,
    ModelArgument,
    OutputOption,
    OverLongOption,
    OwnerOption,
    SeedOption,
    SettingOption,
    ShardOption,
    StopOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    UseOption,
    decoding_of,
)
from llmrec.cli.sources import read_texts
from llmrec.cli.terminal import JsonOption, is_terminal, print_json

if TYPE_CHECKING:
    from llmrec.inference.cached_model import CallPlan
    from llmrec.inference.request_lines import AskedLine
    from llmrec.inference.result_bytes import Result

_FAILED = 1


def generate(
    model: ModelArgument,
    source: InputArgument = "-",
    output: OutputOption = None,
    max_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = None,
    stop: StopOption = None,
    logprobs: LogprobsOption = 0,
    adapter: AdapterOption = None,
    use: UseOption = None,
    form: FormOption = "auto",
    cache: CacheOption = None,
    owner: OwnerOption = None,
    shard: ShardOption = None,
    over_long: OverLongOption = "error",
    option: SettingOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Continue the prompts of INPUT: one line of JSON per line.

    A line is a prompt, or JSON with "prompt" and, if wanted, "decoding", "adapter", "logprobs",
    "id" and "owner"; options are for what a line leaves out.
    """
    decoding = decoding_of(max_tokens, temperature, top_p, top_k, seed, stop)
    defaults = {"decoding": decoding, "logprobs": logprobs, "adapter": use, "over_long": over_long}
    lines = _lines(source, "generate", defaults, form, owner)
    _run("generate", model, lines, output, adapter, option, cache, shard, dry_run, as_json)


def score(
    model: ModelArgument,
    source: InputArgument = "-",
    output: OutputOption = None,
    continuation: Annotated[
        list[str] | None,
        typer.Option(
            "--continuation", help="Text to score after every prompt; may be given again."
        ),
    ] = None,
    logprobs: LogprobsOption = 0,
    adapter: AdapterOption = None,
    use: UseOption = None,
    form: FormOption = "auto",
    cache: CacheOption = None,
    owner: OwnerOption = None,
    shard: ShardOption = None,
    over_long: OverLongOption = "error",
    option: SettingOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say how probable continuations are after the prompts of INPUT, or the prompts themselves.

    A line is a prompt, or JSON with "prompt" and, if wanted, "continuations", "adapter",
    "logprobs", "id" and "owner"; options are for what a line leaves out.
    """
    defaults = {
        "continuations": list(continuation) if continuation else None,
        "logprobs": logprobs,
        "adapter": use,
        "over_long": over_long,
    }
    lines = _lines(source, "score", defaults, form, owner)
    _run("score", model, lines, output, adapter, option, cache, shard, dry_run, as_json)


def merge(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where all shards are.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Write to this file, not to the screen.")
    ] = None,
) -> None:
    """Put the shards of FOLDER together: one line of JSON per line that was asked."""
    from llmrec.inference.asking import merge_shards

    lines, results = merge_shards(folder)
    _write(output, lines, results)
    _say_failures(results)


def _lines(
    source: str, kind: Literal["generate", "score"], defaults: Any, form: str, owner: str | None
) -> "list[AskedLine]":
    from dataclasses import replace

    from llmrec.errors import ConfigError, nearest_name
    from llmrec.inference.request_lines import read_lines

    forms = ("auto", "jsonl", "text")
    if form not in forms:
        raise ConfigError(f"unknown form {form!r}{nearest_name(form, forms)}.")
    texts, name = read_texts(source)
    lines = read_lines(texts, kind, defaults, form, name)  # type: ignore[arg-type]
    return [line if line.owner is not None else replace(line, owner=owner) for line in lines]


def _run(
    kind: Literal["generate", "score"],
    model: str,
    lines: "list[AskedLine]",
    output: Path | None,
    adapters: list[str] | None,
    options: list[str] | None,
    cache: Path | None,
    shard: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask, or say what asking would cost; exit status 1 where a line failed."""
    from llmrec.cli.settings import top_level_settings
    from llmrec.errors import ConfigError
    from llmrec.inference import asking
    from llmrec.inference.opening import open_language_model
    from llmrec.inference.shards import parse_shard
    from llmrec.storage import require_file

    asked, target, part = lines, output, None
    if shard is not None:
        if output is None:
            raise ConfigError("--shard needs --output, the folder that all shards share.")
        part = parse_shard(shard)
        asked = asking.lines_of_shard(lines, *part)
        target = asking.shard_output(output, *part)
    elif output is not None:
        require_file(output)
    opened = open_language_model(
        model, adapters=folders_of(adapters or []), **top_level_settings(options or [])
    )
    if dry_run:
        print_plan(asking.plan_lines(opened, asked, cache, target), as_json)
        return
    if part is not None and output is not None:
        asking.begin_shards(output, lines, kind)
    with asking.job_cache(cache, target) as kept:
        results = asking.ask_lines(opened, asked, kind, kept, progress_bar(len(asked)))
    if part is None or output is None:
        _write(target, asked, results)
    else:
        asking.finish_shard(output, *part, asked, results)
    failed = any(result.error is not None for result in results)
    if target is not None and cache is None and not failed:
        asking.finished(target)
    _say_failures(results)


def folders_of(words: Sequence[str]) -> dict[str, str]:
    """Adapters of ``NAME=FOLDER`` words."""
    from llmrec.errors import ConfigError

    found: dict[str, str] = {}
    for word in words:
        name, separator, folder = word.partition("=")
        if not (name and separator and folder):
            raise ConfigError(f"adapter {word!r} is not of the form NAME=FOLDER.")
        if name in found:
            raise ConfigError(f"adapter {name!r} is given twice.")
        found[name] = folder
    return found


def progress_bar(total: int) -> Any:
    """What to tell how many more lines are done; shown on a terminal only."""
    from tqdm import tqdm

    bar = tqdm(total=total, unit="line", disable=not is_terminal(), leave=False)
    return bar.update


def _write(output: Path | None, lines: "Sequence[AskedLine]", results: "Sequence[Result]") -> None:
    from llmrec.inference.asking import write_results
    from llmrec.inference.request_lines import result_line

    if output is not None:
        write_results(output, lines, results)
        return
    for line, result in zip(lines, results, strict=True):
        print(result_line(line, result))


def print_plan(plan: "CallPlan", as_json: bool) -> None:
    """Say what asking would cost."""
    from dataclasses import asdict

    if as_json:
        print_json(asdict(plan))
        return
    print(
        f"{plan.calls:,} calls of about {plan.approx_tokens:,} tokens (four characters each, "
        f"answers at full length); {plan.hits:,} lines are known or repeat others"
    )


def _say_failures(results: "Sequence[Result]") -> None:
    failed = [result.error for result in results if result.error is not None]
    if failed:
        print(
            f"{len(failed)} of {len(results)} lines failed, the first with: {failed[0]} "
            "What was answered is kept; run it again to ask for the others.",
            file=sys.stderr,
        )
        raise typer.Exit(_FAILED)
