"""What docs/risk_decisions.md shows runs as it stands, and the options it names exist."""

import re
from pathlib import Path

from typer.main import get_command

from llmrec.cli.signatures import app

PAGE = Path(__file__).parents[2] / "docs" / "risk_decisions.md"


def test_every_python_block_runs_after_the_ones_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) >= 8
    for block in found:
        exec(compile(block, "risk_decisions.md", "exec"), names)
    said = capsys.readouterr().out
    assert "With certainty 0.95" in said
    assert "['Heat 2: Heatwave (2031)']" in said
    assert "are like those of the reference" in said
    assert "received" in said


def test_options_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    verbs = get_command(app).commands
    known = {option for verb in verbs.values() for each in verb.params for option in each.opts}
    named = set(re.findall(r"(?<=[ `\[])--[a-z][a-z-]+", text)) - {"--logprobs"}
    assert len(named) >= 12
    assert named <= known
