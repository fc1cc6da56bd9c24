"""``llmrec profiles``: texts about users and items, by a template or by any language model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.lm_options import (
    CacheOption,
    DryRunOption,
    MaxTokensOption,
    SettingOption,
    ShardOption,
)
from llmrec.cli.terminal import JsonOption, print_json, printable, progress

if TYPE_CHECKING:
    from llmrec.runs.profiles import ProfileJob

ModelOption = Annotated[
    str | None, typer.Option(help="Language model; without one a template is the profile.")
]
GranularityOption = Annotated[str, typer.Option(help="Of users: prefix, every_m or user.")]
TemplateOption = Annotated[
    str | None, typer.Option(help="Another template; 'llmrec lm prompts' lists them.")
]
BeforeOption = Annotated[
    str | None, typer.Option(help="Template whose text comes before what the model wrote.")
]
InsteadOption = Annotated[
    str | None, typer.Option(help="Template whose text is taken where the model wrote nothing.")
]
ChatOption = Annotated[
    str | None, typer.Option(help="Tokenizer whose chat format wraps the prompt.")
]

app = typer.Typer(rich_markup_mode=None, help="Write texts about users and items.")


@app.callback()
def root() -> None:
    """Write texts about users and items."""


@app.command(short_help="Write profiles of users or items.")
def write(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="Written from the training part of its split.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the finished table.")],
    model: ModelOption = None,
    kind: Annotated[str, typer.Option(help="users or items.")] = "users",
    granularity: GranularityOption = "every_m",
    every: Annotated[int, typer.Option(min=1, help="The m of every_m.")] = 5,
    titles: Annotated[int, typer.Option(min=1, help="Newest titles that are told.")] = 11,
    template: TemplateOption = None,
    before: BeforeOption = None,
    instead: InsteadOption = None,
    max_tokens: MaxTokensOption = 256,
    chat_tokenizer: ChatOption = None,
    cache: CacheOption = None,
    option: SettingOption = None,
    shard: ShardOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write profiles for TASK. What was written is kept: run it again after a kill to go on."""
    from llmrec.cli.settings import top_level_settings
    from llmrec.data.named import load_dataset
    from llmrec.evaluation.tasks import load_task
    from llmrec.inference.opening import seen_by
    from llmrec.inference.shards import parse_shard
    from llmrec.profiles.profile import MANIFEST
    from llmrec.runs import profiles
    from llmrec.storage import require_place
    from llmrec.templates import load_template

    require_place(output, MANIFEST)
    part = None if shard is None else parse_shard(shard)
    wanted = load_task(task)
    prompt = None if template is None else load_template(template)
    split = wanted.split(load_dataset(wanted.dataset))
    requests = profiles.requests_for(split, kind, granularity, every, titles)  # type: ignore[arg-type]
    if model is None:
        _refuse_model_options(before, instead, chat_tokenizer, cache, option)
        prompt = prompt or load_template(profiles.PLAIN[kind])
        writer = profiles.template_writer(kind, template)  # type: ignore[arg-type]
    else:
        prompt = prompt or load_template(profiles.PROMPTS[kind])
        writer = profiles.model_writer(  # type: ignore[assignment]
            model,
            split,
            kind,  # type: ignore[arg-type]
            template=template,
            before=before,
            instead=instead,
            max_tokens=max_tokens,
            cache=cache,
            chat_tokenizer=chat_tokenizer,
            options=top_level_settings(option or []),
        )
    vouched = model is not None and bool(seen_by(model))
    job = profiles.ProfileJob(requests, writer, prompt, split, output, vouched)
    _run(job, part, dry_run, as_json)


def _run(job: "ProfileJob", part: tuple[int, int] | None, dry_run: bool, as_json: bool) -> None:
    asked = job.requests if part is None else job.of_shard(*part)
    left = job.estimate(asked)
    if dry_run:
        if as_json:
            print_json({**vars(left), "texts": len(asked)})
            return
        print(
            f"{len(asked):,} texts, {left.calls:,} still to be written, with prompts of about "
            f"{left.approx_tokens:,} tokens (four characters each); answers come on top"
        )
        return
    progress(f"writing {left.calls:,} of {len(asked):,} texts")
    found = job.write(asked)
    if part is None:
        found.save(job.output)
    empty = getattr(job.writer, "empty", 0)
    if as_json:
        where = str(job.output if part is None else job.parts)
        print_json({"texts": len(found), "empty_answers": empty, "folder": where})
        return
    if empty:
        print(f"{empty:,} answers were empty; the other template's text was taken")
    print(f"for example: {printable(found.texts[0])[:200]}")
    if part is not None:
        print(f"part {part[0]} of {part[1]} is in {job.parts}; when all are there, run it without")
        print("--shard, which asks nothing any more and writes the table")
        return
    print(f"{len(found):,} profiles saved in {job.output}")


def _refuse_model_options(*given: object) -> None:
    from llmrec.errors import ConfigError

    if any(each for each in given):
        raise ConfigError(
            "--before, --instead, --chat-tokenizer, --cache and --option are about a language "
            "model; name one with --model."
        )
