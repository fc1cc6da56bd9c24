"""One function for every form in which signatures come, recognised by itself where possible."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from llmrec.errors import ConfigError, DataError, nearest_name
from llmrec.signatures.readers.graded import read_graded_completions
from llmrec.signatures.readers.lines import Gathered, ReadSignatures, text_lines
from llmrec.signatures.readers.openai_log import LogOptions, read_openai_log
from llmrec.signatures.readers.token_tables import read_token_table
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store.store import MANIFEST, SignatureStore

Format = Literal["store", "openai", "graded", "token-table"]
FORMATS: tuple[Format, ...] = get_args(Format)


def read_signatures(
    paths: str | Path | Sequence[str | Path],
    form: Format | Literal["auto"] = "auto",
    options: LogOptions | None = None,
    *,
    group: str | None = None,
    strict: bool = False,
) -> ReadSignatures:
    """Read signatures from files or folders.

    Args:
        paths: Stores, logs of responses or tables; several of one kind or of different kinds.
        form: ``store``: a folder that :class:`~llmrec.signatures.store.SignatureStore` wrote;
            ``openai``: responses, one per line; ``graded``: responses beside question and gold
            answer, as in completions-top20; ``token-table``: as in mcq-logprobs; ``auto`` looks.
        options: What files do not say about themselves.
        group: Name of the field or column that says what must not be torn; None takes that of the
            form: the prompt, the question.
        strict: Raise at the first bad line.

    Raises:
        DataError: A file is missing or of no known form, or in strict mode a line is bad.
    """
    if form != "auto" and form not in FORMATS:
        raise ConfigError(f"unknown form of signatures {form!r}{nearest_name(form, FORMATS)}.")
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    options = options or LogOptions()
    found = [
        _read(path, _form_of(path) if form == "auto" else form, options, group, strict)
        for path in map(Path, given)
    ]
    bad = tuple(line for one in found for line in one.bad)
    return ReadSignatures(SignatureSet.concat([one.set for one in found]), bad)


def _read(
    path: Path, form: str, options: LogOptions, group: str | None, strict: bool
) -> ReadSignatures:
    if form == "store":
        if not (path / MANIFEST).is_file():
            raise DataError(f"{path} is no store of signatures: it has no {MANIFEST}.")
        return ReadSignatures(SignatureStore(path).read())
    if form == "token-table":
        more: dict[str, Any] = {} if group is None else {"group": group}
        fingerprint = dict(options.fingerprint) or None
        mode = "raw_logprobs" if options.mode == "unknown" else options.mode
        return read_token_table(
            path,
            k=options.k,
            mode=mode,
            vocab_size=options.vocab_size,
            fingerprint=fingerprint,
            strict=strict,
            **more,
        )
    if form == "graded":
        return read_graded_completions(path, options, strict=strict)
    own = options if group is None else LogOptions(**{**vars(options), "group": group})
    return read_openai_log(path, own, strict=strict)


def _form_of(path: Path) -> Format:
    if path.is_dir():
        return "store"
    name = path.name.removesuffix(".gz")
    if name.endswith((".csv", ".tsv")):
        return "token-table"
    for _, line in text_lines(path, Gathered()):
        try:
            first = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(first, dict):
            graded = isinstance(first.get("row"), dict) and "question" in first["row"]
            return "graded" if graded else "openai"
    raise DataError(f"{path} is of no known form; say which with form: {', '.join(FORMATS)}.")
