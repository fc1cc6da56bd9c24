"""``llmrec forget``: remove what is kept about a user, and say what stays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.terminal import JsonOption, print_json

if TYPE_CHECKING:
    from llmrec.runs.forgetting import Forgotten, Store

_FAILED = 1


def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id.")],
    cache: Annotated[
        list[Path] | None,
        typer.Option("--cache", help="A file of cached answers; may be given again."),
    ] = None,
    profiles: Annotated[
        list[Path] | None,
        typer.Option("--profiles", help="A folder of user profiles; may be given again."),
    ] = None,
    adapters: Annotated[
        list[Path] | None,
        typer.Option("--adapters", help="An adapter store; may be given again."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove USER from caches, profiles and adapters; exit status 1 where one could not be done."""
    from dataclasses import asdict

    from llmrec.runs.forgetting import forget_user, what_stays

    found = forget_user(user, _stores(cache or [], profiles or [], adapters or []))
    if as_json:
        print_json({"removed": [asdict(each) for each in found], "stays": what_stays()})
    else:
        _tell(found, what_stays())
    if any(each.error for each in found):
        raise typer.Exit(_FAILED)


def _stores(cache: list[Path], profiles: list[Path], adapters: list[Path]) -> "list[Store]":
    from llmrec.errors import ConfigError
    from llmrec.runs.forgetting import AdaptersOfUsers, CacheStore, ProfileStore

    stores: list[Store] = [CacheStore(path) for path in cache]
    stores += [ProfileStore(path) for path in profiles]
    stores += [AdaptersOfUsers(path) for path in adapters]
    if not stores:
        raise ConfigError(
            "say where to look: --cache FILE for cached answers, --profiles FOLDER for profiles, "
            "--adapters STORE for adapters."
        )
    return stores


def _tell(found: "list[Forgotten]", stays: list[str]) -> None:
    for each in found:
        came_of_it = each.error or f"{each.removed} {each.unit} removed"
        print(f"{each.store}: {came_of_it}")
        if each.unload:
            print(f"where a server runs, tell it to unload: {', '.join(each.unload)}")
    print("\n".join(["", "not removed:", *(f"- {sentence}" for sentence in stays)]))
