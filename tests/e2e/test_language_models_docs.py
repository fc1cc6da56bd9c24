"""What docs/language_models.md shows runs as it stands, on the smallest data and preset."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from llmrec.cli.app import app
from llmrec.tiny_lm.config import PRESETS, Corpus, make_config

PAGE = Path(__file__).parents[2] / "docs" / "language_models.md"
SHORTER = {
    "simulate:small@1": "simulate:tiny@1",
    'make_config("small")': (
        'make_config("test", hidden_size=32, layers=1, corpus={"questions": 4000})'
    ),
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_python_block_runs_after_the_ones_before_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    names = {}
    found = blocks("python")
    assert len(found) == 4
    for block in found:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["answers"][0].tokens <= 8
    assert all(value < 0 for value in names["odds"])


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line[line.index("llmrec ") :] for line in lines if "llmrec " in line]


@pytest.mark.parametrize("line", commands())
def test_every_command_line_names_verbs_and_options_that_exist(line):
    words = shlex.split(line, comments=True)[1:]
    command = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_settings_and_presets_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"corpus\.(\w+)", text))
    assert len(named) >= 5
    assert named <= Corpus.model_fields.keys()
    assert set(re.findall(r"^\| `(\w+)` \| \d", text, re.MULTILINE)) == set(PRESETS)
    assert re.search(r"An answer counts\s+six times", text)
    assert make_config().corpus.answer_weight == 6
