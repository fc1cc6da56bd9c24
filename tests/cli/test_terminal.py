"""JSON, tables and colour."""

import io
import json

import pytest

from llmrec.cli.terminal import mark, print_json, print_table, printable, styled


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_has_no_infinities(capsys):
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": "ü"}})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": "ü"}}


def test_columns_line_up(capsys):
    print_table(("name", "n"), [("a", 5), ("long", 123)])
    assert capsys.readouterr().out.splitlines() == ["name    n", "a       5", "long  123"]


def test_a_table_without_rows_is_its_header(capsys):
    print_table(("name", "n"), [])
    assert capsys.readouterr().out == "name  n\n"


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, stream, environment, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (styled("x", "red", stream) != "x") == coloured


def test_marks_fall_back_to_letters(monkeypatch):
    class Plain(io.StringIO):
        encoding = "ascii"

    monkeypatch.setattr("sys.stdout", Plain())
    assert (mark(True), mark(False)) == ("ok", "--")


def test_control_characters_cannot_steer_the_terminal():
    assert printable("a\033[2Jb\u202ec\nd") == "a [2Jb c d"
