"""Lines of a file, or of what is piped in, for the verbs that read them as a whole."""

import sys
from pathlib import Path


def read_texts(source: str) -> tuple[list[str], str]:
    """Lines of a file, or of standard input for ``-``, and what to call them in messages.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    from llmrec.errors import DataError

    try:
        if source == "-":
            return sys.stdin.readlines(), "standard input"
        with Path(source).open(encoding="utf-8") as stream:
            return stream.readlines(), source
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 (byte {error.start}).") from None
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}.") from None
