"""What docs/los_net.md shows runs as it stands, and the settings it names exist."""

import re
from pathlib import Path

import pytest

from llmrec.signatures.los_net import LOSNetConfig

PAGE = Path(__file__).parents[2] / "docs" / "los_net.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_python_block_runs_after_the_ones_before_it(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    names = {}
    found = blocks("python")
    assert len(found) >= 7
    for block in found:
        exec(compile(block, "los_net.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "risk" in printed
    assert "mode processed_logprobs" in printed  # the refusal that the page shows
    assert len(names["risks"]) == len(names["records"][0])


def test_settings_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(named) >= 9
    assert set(named) <= LOSNetConfig.model_fields.keys()
