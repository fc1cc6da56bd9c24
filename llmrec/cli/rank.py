"""``llmrec rank``: order given candidates for known users or for histories given by hand."""

from typing import Annotated

import typer

from llmrec.cli.recommend import CANDIDATES, HistoryOption, RunArgument, UserOption
from llmrec.cli.tables import print_lists
from llmrec.cli.terminal import JsonOption, print_json


def rank(
    run: RunArgument,
    candidates: Annotated[str, typer.Option(help=CANDIDATES)],
    user: UserOption = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Order CANDIDATES for users of RUN (--user) or for histories (--history)."""
    from llmrec.runs.directory import RunDirectory
    from llmrec.runs.serving import rank_from

    lists = rank_from(RunDirectory(run), user or [], history or [], candidates)
    if as_json:
        print_json(lists.to_dicts())
    else:
        print_lists(lists)
