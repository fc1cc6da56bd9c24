"""The errors a user can cause, each a sentence that says what was wrong, where, and what to do.

The command line prints the sentence and exits with status 2. Anything else that escapes is a bug
of the library and keeps its traceback.
"""

import difflib
import sys
from collections.abc import Callable, Iterable


class LlmrecError(ValueError):
    """Base of every error that the user's input can cause.

    Args:
        sentence: What was wrong, where, and what to do. A suggestion of :func:`nearest_name` may
            end it: the full stop after its question mark is dropped.
    """

    def __init__(self, sentence: str = "") -> None:
        super().__init__(sentence.replace("?.", "?"))


class DataError(LlmrecError):
    """Interactions, a catalog, a split or a file does not have the form it must have."""


class ConfigError(LlmrecError):
    """A recipe, a task or an argument names something unknown or out of range."""


class ProtocolError(LlmrecError):
    """Two figures are not comparable, or a model has already seen what it is to be judged on."""


class UnknownIdError(LlmrecError):
    """A user or an item id is not known to the model that was asked about it."""


class ArtifactError(LlmrecError):
    """A saved directory is missing, incomplete, of another kind, or does not match its hashes."""


class StorageError(LlmrecError):
    """The file system takes no more: the disk is full, or writing there is not allowed."""


class TrainingError(LlmrecError):
    """Training cannot go on: the loss is not finite, or a checkpoint does not fit the run."""


class LanguageModelError(LlmrecError):
    """A language model gave no answer, and without it the work cannot go on."""


def run_script(main: Callable[[], None]) -> None:
    """Run a script as the command line runs a verb: a mistake is one sentence and exit status 2.

    Args:
        main: The script.
    """
    try:
        main()
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or the list of names.

    Args:
        name: What the user wrote.
        known: The valid names; nothing is said of none.
    """
    names = sorted(known)
    if not names:
        return ""
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known names are {', '.join(names)}"


def shorten(values: Iterable[object], most: int = 5) -> str:
    """List a few values for an error message: ``'a', 'b' and 3 more``."""
    listed = list(values)
    shown = ", ".join(repr(value) for value in listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"
