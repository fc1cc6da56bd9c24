"""What docs/adapters.md shows runs as it stands, and what it names exists."""

import re
from pathlib import Path

import pytest

from llmrec.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_python_block_runs_after_the_ones_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    found = blocks("python")
    assert len(found) >= 9
    said = []
    for block in found:
        exec(compile(block, "adapters.md", "exec"), names)
        said.append(capsys.readouterr().out)
    whole = "".join(said)
    assert "torch.Size([3, 10, 64])" in whole
    assert "True" in said[2]
    assert "this store was made for base model" in said[3]
    assert "['user', 'profile', 'group', 'prior']" in whole
    assert "Refreshed(new=1, updated=1, unchanged=0, overtaken=0)" in whole
    assert names["health"]["fallbacks"] == 3
    assert names["done"].known


def test_verbs_that_the_page_names_exist(capsys):
    verbs = set(re.findall(r"llmrec adapters (\w+)", "".join(blocks("bash"))))
    assert len(verbs) >= 8
    for verb in verbs:
        with pytest.raises(SystemExit) as stopped:
            main(["adapters", verb, "--help"])
        assert stopped.value.code in (0, None)
    capsys.readouterr()


def test_options_that_the_page_names_exist(capsys):
    for line in "".join(blocks("bash")).splitlines():
        found = re.match(r"llmrec adapters (\w+)(.*)", line)
        if not found:
            continue
        with pytest.raises(SystemExit):
            main(["adapters", found[1], "--help"])
        help_text = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+\w", found[2].partition(" -- ")[0]):
            assert option in help_text, line


def test_values_that_the_page_names_exist():
    from llmrec.adapters.diagnostics import diagnose

    text = PAGE.read_text(encoding="utf-8").partition("### Is it healthy?")[2]
    named = re.findall(r"^\| `(\w+)` \|", text.partition("## On the command")[0], re.MULTILINE)
    assert len(named) == 7
    assert all(f"``{name}``" in diagnose.__doc__ for name in named)
