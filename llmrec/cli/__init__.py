"""The command line: one file per verb, heavy imports only inside the verbs.

``main`` is the console entry. What the user did wrong is one sentence on stderr and exit status 2;
anything else keeps its traceback, for it is a defect of the toolkit.
"""

import sys

_INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with 0, 2 (a mistake in the input) or 130 (interrupted).

    Args:
        arguments: Words after ``llmrec``; None takes them from the process.
    """
    from typer.exceptions import Abort, TyperException

    from llmrec.cli.app import command
    from llmrec.errors import LlmrecError

    try:
        status = command()(arguments, prog_name="llmrec", standalone_mode=False)
    except LlmrecError as error:
        _refuse(str(error))
    except TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "llmrec"
        _refuse(f"{path}: {error.format_message().rstrip('.')}; see '{path} --help'.")
    except (KeyboardInterrupt, Abort):
        status = _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has what it wanted
        sys.stderr.close()
        sys.exit(0)
    if status == _INTERRUPTED:
        print("interrupted", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _refuse(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
