"""The tree of verbs. Importing this module loads typer and nothing else that takes time."""

from typing import Annotated, Any

import typer
from typer.main import get_command

from llmrec import __version__
from llmrec.cli.adapters import app as adapters_app
from llmrec.cli.align import align
from llmrec.cli.compare import compare
from llmrec.cli.data import app as data_app
from llmrec.cli.doctor import doctor
from llmrec.cli.evaluate import evaluate
from llmrec.cli.forget import forget
from llmrec.cli.items import app as items_app
from llmrec.cli.lm import app as lm_app
from llmrec.cli.profiles import app as profiles_app
from llmrec.cli.quickstart import quickstart
from llmrec.cli.rank import rank
from llmrec.cli.recommend import recommend
from llmrec.cli.report import report
from llmrec.cli.signatures import app as signatures_app
from llmrec.cli.train import train

# The plain help writer starts faster than the boxed one and reads the same in a pipe.
app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommend with language models, and see how those models behave.",
    epilog="Start with 'llmrec quickstart'; 'llmrec VERB --help' explains a verb.",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Recommend with language models, and see how those models behave."""
    if version:
        print(f"llmrec {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command(short_help="Train and compare four models, write a report.")(quickstart)
app.command(short_help="See what this machine has and lacks.")(doctor)
app.add_typer(data_app, name="data", short_help="List, check, prepare, simulate data.")
app.add_typer(items_app, name="items", short_help="Give items semantic IDs.")
app.command(short_help="Train the model of a recipe.")(train)
app.command(short_help="Align a generator of sessions with what users value.")(align)
app.add_typer(lm_app, name="lm", short_help="Train and ask language models, show prompts.")
app.add_typer(profiles_app, name="profiles", short_help="Write texts about users and items.")
app.add_typer(adapters_app, name="adapters", short_help="Adapters of users: list, export, forget.")
app.add_typer(signatures_app, name="signatures", short_help="Can an answer be trusted?")
app.command(short_help="Judge a run on a part of a task.")(evaluate)
app.command(short_help="Are runs different beyond noise?")(compare)
app.command(short_help="Recommend items to users.")(recommend)
app.command(short_help="Order given items for users.")(rank)
app.command(short_help="Write an offline HTML page about runs.")(report)
app.command(short_help="Remove what is kept about a user.")(forget)


def command() -> Any:
    """The command line as one callable."""
    return get_command(app)
