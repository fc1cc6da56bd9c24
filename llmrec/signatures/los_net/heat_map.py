"""A text with every token on a colour that says how it moves the risk: terminal and HTML.

Red raises the risk, blue lowers it; the strongest token of a text has the full colour. Tokens come
from a model and are hostile: control characters are shown as symbols, HTML is escaped by the
template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from llmrec.errors import DataError
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.los_net.attribution import char_spans

_RED, _BLUE = (214, 48, 49), (38, 113, 196)
_TERMINAL_PAPER, _PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True)
class Span:
    """One token of a heat map.

    Attributes:
        text: As the model wrote it.
        start: First character in the whole text.
        end: Character after its last.
        value: Change of the risk that it causes.
        strength: The same on a scale from -1 to 1, the text's strongest token at an end.
    """

    text: str
    start: int
    end: int
    value: float
    strength: float


@dataclass(frozen=True)
class HeatMap:
    """A text, its risk, and its tokens.

    Attributes:
        spans: The tokens.
        risk: Of the whole text.
        title: What is shown above it.
    """

    spans: tuple[Span, ...]
    risk: float
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a report."""
        return {"title": self.title, "risk": self.risk, "spans": [vars(s) for s in self.spans]}


def heat_map(
    record: SignatureRecord, values: npt.NDArray[np.floating], risk: float, title: str = ""
) -> HeatMap:
    """Join the tokens of a record with what :func:`occlusion` says about them.

    Args:
        record: Names its tokens.
        values: ``[N]`` change of the risk by position.
        risk: Of the whole text.
        title: Shown above it.

    Raises:
        DataError: The record names no tokens, or ``values`` are not one per position.
    """
    if record.tokens is None:
        raise DataError("the record does not name its tokens, so there is nothing to colour.")
    if len(values) != len(record.tokens):
        raise DataError(f"{len(record.tokens)} tokens have {len(values)} values.")
    largest = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    spans = [
        Span(text, int(start), int(end), float(value), float(value) / largest)
        for text, (start, end), value in zip(
            record.tokens, char_spans(record.tokens), values, strict=True
        )
    ]
    return HeatMap(tuple(spans), float(risk), title)


def to_ansi(shown: HeatMap, colour: bool = True) -> str:
    """The text for a terminal, with 24-bit background colours.

    Args:
        shown: The heat map.
        colour: False marks the strongest tokens with brackets instead, for NO_COLOR and pipes.
    """
    head = f"{_printable(shown.title)}  " if shown.title else ""
    head += f"risk {shown.risk:.3f}\n"
    if not colour:
        marked = [
            f"[{_printable(s.text)}]" if s.strength > 0.5 else _printable(s.text)
            for s in shown.spans
        ]
        return head + "".join(marked) + "\n"
    parts = []
    for span in shown.spans:
        red, green, blue = _mixed(span.strength, _TERMINAL_PAPER)
        text = _printable(span.text)
        parts.append(f"\x1b[48;2;{red};{green};{blue};38;2;240;240;240m{text}")
    return head + "".join(parts) + "\x1b[0m\n"


def to_html(maps: Sequence[HeatMap], heading: str = "What makes these texts risky") -> str:
    """One page with every heat map; it loads nothing and runs no script."""
    environment = Environment(
        loader=PackageLoader("llmrec.signatures.los_net"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = shown_maps(maps)
    return environment.get_template("heat_map.html.j2").render(heading=heading, maps=shown)


def shown_maps(maps: Sequence[HeatMap]) -> list[Mapping[str, Any]]:
    """Heat maps as a template shows them: visible text, colours, values; not escaped."""
    return [
        {
            "title": found.title,
            "risk": f"{found.risk:.3f}",
            "tokens": [
                {
                    "text": _printable(span.text, keep_breaks=True),
                    "colour": "#{:02x}{:02x}{:02x}".format(*_mixed(span.strength, _PAPER)),
                    "value": f"{span.value:+.4f}",
                }
                for span in found.spans
            ],
        }
        for found in maps
    ]


def _mixed(strength: float, paper: tuple[int, int, int]) -> tuple[int, ...]:
    ink = _RED if strength > 0 else _BLUE
    share = min(1.0, abs(strength)) * 0.8
    return tuple(round(p + (i - p) * share) for i, p in zip(ink, paper, strict=True))


def _printable(text: str, keep_breaks: bool = False) -> str:
    """Control characters as their symbols; line breaks stay behind one where they may."""
    shown = []
    for character in text:
        code = ord(character)
        if character == "\n" and keep_breaks:
            shown.append("\u23ce\n")
        elif code < 32:
            shown.append(chr(0x2400 + code))
        elif code == 127 or 128 <= code < 160 or character in _DIRECTIONS:
            shown.append("\ufffd")
        else:
            shown.append(character)
    return "".join(shown)


_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
