"""``llmrec recommend``: what a run recommends to known users or to histories given by hand."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.tables import print_lists
from llmrec.cli.terminal import JsonOption, print_json
from llmrec.errors import ConfigError

CANDIDATES = "Item ids, comma-separated, or @FILE with one id per line."
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
UserOption = Annotated[
    list[str] | None, typer.Option("--user", help="A known user; may be given again.")
]
HistoryOption = Annotated[
    list[str] | None,
    typer.Option("--history", help="Item ids, oldest first, comma-separated; may be given again."),
]


def recommend(
    run: RunArgument,
    user: UserOption = None,
    history: HistoryOption = None,
    k: Annotated[
        int | None, typer.Option("--k", min=1, help="Items per user; 10 if neither is given.")
    ] = None,
    session: Annotated[
        int | None,
        typer.Option(
            "--session",
            min=1,
            help="Instead of single items a list of so many, written as one (onerec, onerec_lm).",
        ),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help=f"Choose from these only. {CANDIDATES}")
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Items of the history may come again.")
    ] = False,
    everyone: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write lists for all known users to this parquet file."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="With --everyone, only users of part i/n, like 2/8; a file for each."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items, or a session, to users of RUN or to histories given by hand."""
    from llmrec.runs.directory import RunDirectory
    from llmrec.runs.serving import recommend_from

    if everyone is not None:
        if user or history:
            raise ConfigError("--everyone serves all known users; leave out --user and --history.")
        _to_everyone(run, everyone, k, include_seen, session, candidates, shard, as_json)
        return
    if shard is not None:
        raise ConfigError("--shard divides the users of --everyone FILE; give that, too.")
    lists = recommend_from(
        RunDirectory(run),
        user or [],
        history or [],
        k,
        not include_seen,
        session=session,
        candidates=candidates,
    )
    if as_json:
        print_json(lists.to_dicts())
    else:
        print_lists(lists)


def _to_everyone(
    run: Path,
    output: Path,
    k: int | None,
    include_seen: bool,
    session: int | None,
    candidates: str | None,
    shard: str | None,
    as_json: bool,
) -> None:
    from llmrec.inference.shards import parse_shard
    from llmrec.runs.directory import RunDirectory
    from llmrec.runs.serving import recommend_to_everyone

    users = recommend_to_everyone(
        RunDirectory(run),
        output,
        k,
        not include_seen,
        session=session,
        candidates=candidates,
        shard=parse_shard(shard or "1/1"),
    )
    if as_json:
        print_json({"users": users, "file": str(output)})
    else:
        print(f"{output}: lists for {users:,} users")
