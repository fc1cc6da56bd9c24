"""The tables in README.md and docs are the committed results."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("eval_readme", ROOT / "eval" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["README.md", "docs/sra_cl.md"])
def test_pages_hold_the_tables_made_from_the_results(page):
    script = load_script()
    assert page in script.PAGES
    text = (ROOT / page).read_text(encoding="utf-8")
    assert ":begin -->" in text
    assert script.with_tables(text) == text


def test_a_changed_number_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = load_script()
    changed = script.replace(text, "results", "| sasrec | 0.9999 |")
    assert changed != text
    assert script.with_tables(changed) == text
