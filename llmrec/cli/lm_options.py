"""Options of the verbs that put many questions to a language model."""

from pathlib import Path
from typing import Annotated, Any

import typer

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="tiny:DATASET, hf:FOLDER_OR_NAME, vllm:FOLDER_OR_NAME, openai:MODEL@URL, or fake.",
    ),
]
InputArgument = Annotated[
    str,
    typer.Argument(metavar="[INPUT]", help="Lines of JSON or of text; - for what is piped in."),
]
FormOption = Annotated[
    str, typer.Option("--form", help="Of the lines: auto, jsonl or text (a prompt each).")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", help="Write here, not to the screen; with --shard a folder."),
]
AdapterOption = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="Load a LoRA adapter, NAME=FOLDER; may be given again."),
]
UseOption = Annotated[
    str | None, typer.Option("--use", help="Adapter of the lines that name none.")
]
LogprobsOption = Annotated[
    int, typer.Option("--logprobs", min=0, help="Record the K most probable tokens.")
]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Keep answers in this file, and look there first.")
]
OwnerOption = Annotated[
    str | None, typer.Option("--owner", help="Whose data is in the lines that do not say.")
]
ShardOption = Annotated[
    str | None, typer.Option("--shard", help="Do part i of n only, given as i/n.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what it would cost, and do nothing.")
]
SettingOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="Setting of the backend, e.g. device=cpu; may be given again."),
]
OverLongOption = Annotated[
    str, typer.Option("--over-long", help="A prompt that does not fit: error or keep_end.")
]
MaxTokensOption = Annotated[
    int, typer.Option("--max-tokens", min=1, help="Most tokens of an answer.")
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", help="0 takes the most probable token.")
]
TopPOption = Annotated[
    float, typer.Option("--top-p", help="Sample from tokens of this probability.")
]
TopKOption = Annotated[int, typer.Option("--top-k", help="Sample from so many tokens; 0 for all.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Of the sampling.")]
StopOption = Annotated[
    list[str] | None, typer.Option("--stop", help="Text that ends an answer; may be given again.")
]


def decoding_of(
    max_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int | None,
    stop: list[str] | None,
) -> dict[str, Any]:
    """How lines are decoded that do not say, as a request has it."""
    return {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "stop": list(stop or []),
    }
