"""``llmrec signatures score``: a risk for every response, as it arrives."""

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.signatures_options import BAD_INPUT, ModeOption, log_options
from llmrec.cli.terminal import JsonOption, is_terminal, printable

_AT_ONCE = 256  # lines of a file; what is piped in is answered one by one

if TYPE_CHECKING:
    from llmrec.signatures.calibrated import CalibratedDetector
    from llmrec.signatures.scoring_lines import ScoredLine


def score(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="A trained detector.")],
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="Responses, a line each; - for piped in.")
    ] = "-",
    alpha: Annotated[
        float | None, typer.Option(help="Another error budget than the saved one.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Probability of breaking that budget.")] = 0.05,
    heat_map: Annotated[
        bool, typer.Option("--heat-map", help="Show the tokens that raise the risk, in colours.")
    ] = False,
    mode: ModeOption = "unknown",
    force: Annotated[
        bool, typer.Option("--force", help="Score records of another source too, with a warning.")
    ] = False,
    watch: Annotated[
        int, typer.Option(min=0, help="Look for drift every so many answers; 0 never.")
    ] = 500,
    as_json: JsonOption = False,
) -> None:
    """Give every response of INPUT a risk and a decision, each before the next one is read.

    A line is a raw response of an OpenAI-compatible server, one inside {"id", "response"}, or what
    'llmrec lm generate --logprobs' prints. Lines that cannot be read are answered with a sentence.
    """
    from llmrec.signatures.calibrated import CalibratedDetector
    from llmrec.signatures.scoring_lines import LineScorer

    loaded = CalibratedDetector.from_pretrained(detector)
    if alpha is not None:
        print(loaded.guarantee(alpha, delta).sentence, file=sys.stderr)
    options = log_options(_k_of(loaded), mode)
    scorer = LineScorer(loaded, options, "warn" if force else "error", watch)
    name = "standard input" if source == "-" else source
    told = 0
    with _opened(source) as stream:
        for found in scorer.score(stream, name, 1 if source == "-" else _AT_ONCE):
            if heat_map and found.record is not None and found.judgement is not None:
                print(_heat_map(loaded, found), flush=True)
            else:
                print(_line(found, as_json or not is_terminal(sys.stdout)), flush=True)
            if found.error is not None:
                said = f"{name}, line {found.line}: {_said(found.error)}"
                print(printable(said), file=sys.stderr)
            for report in scorer.drifts[told:]:
                print(f"drift: {report.sentence}", file=sys.stderr)
            told = len(scorer.drifts)
    for report in scorer.drifts[told:]:
        print(f"drift: {report.sentence}", file=sys.stderr)
    if scorer.failed:
        total = scorer.failed + scorer.judged
        print(f"{scorer.failed} of {total} answers have no risk.", file=sys.stderr)
        raise typer.Exit(BAD_INPUT)


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    from llmrec.errors import DataError

    if source == "-":
        yield sys.stdin.buffer
        return
    if not Path(source).is_file():
        raise DataError(f"{source} is missing.")
    with Path(source).open("rb") as stream:
        yield stream


def _k_of(detector: "CalibratedDetector") -> int:
    """Values per position that the detector was trained on."""
    config = getattr(detector.scorer, "config", None)
    learnt = getattr(config, "k", None)
    if learnt is not None:
        return int(learnt)
    assert detector.reference is not None
    return max(1, math.ceil(float(detector.reference.values["received"][-1])))


def _said(error: str) -> str:
    """A sentence of the library, with the option of this verb."""
    return error.replace("pass on_mismatch='warn'", "give --force")


def _line(found: "ScoredLine", as_json: bool) -> str:
    judged = found.judgement
    if as_json:
        value: dict[str, Any] = {"line": found.line}
        if found.id:
            value["id"] = found.id
        if judged is None:
            value["error"] = _said(found.error or "")
        else:
            value |= {"risk": round(judged.risk, 6), "decision": judged.decision}
        return json.dumps(value, ensure_ascii=True)
    if judged is None:
        return f"{found.line:>6}  -      -       {printable(found.id)}"
    return f"{found.line:>6}  {judged.risk:.3f}  {judged.decision or '-':6}  {printable(found.id)}"


def _heat_map(detector: "CalibratedDetector", found: "ScoredLine") -> str:
    from llmrec.signatures.attribution import token_effects
    from llmrec.signatures.los_net.heat_map import heat_map, to_ansi

    assert found.record is not None
    assert found.judgement is not None
    if found.record.tokens is None:
        return _line(found, as_json=False)
    values = token_effects(detector.scorer, found.record)
    shown = heat_map(found.record, values, found.judgement.risk, title=found.id)
    colour = is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")
    return to_ansi(shown, colour)
