"""``llmrec forget``: remove what is kept about a user, and say what stays."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.terminal import JsonOption, print_json

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

    from llmrec.errors import ConfigError
    from llmrec.runs.forgetting import (
        AdaptersOfUsers,
        CacheStore,
        ProfileStore,
        Store,
        forget_user,
        what_stays,
    )

    stores: list[Store] = [CacheStore(path) for path in cache or []]
    stores += [ProfileStore(path) for path in profiles or []]
    stores += [AdaptersOfUsers(path) for path in adapters or []]
    if not stores:
        raise ConfigError(
            "say where to look: --cache FILE for cached answers, --profiles FOLDER for profiles, "
            "--adapters STORE for adapters."
        )
    found, stays = forget_user(user, stores), what_stays()
    if as_json:
        print_json({"removed": [asdict(each) for each in found], "stays": stays})
    else:
        for each in found:
            came_of_it = each.error or f"{each.removed} {each.unit} removed"
            print(f"{each.store}: {came_of_it}")
        print("\n".join(["", "not removed:", *(f"- {sentence}" for sentence in stays)]))
    if any(each.error for each in found):
        raise typer.Exit(_FAILED)
