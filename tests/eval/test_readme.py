"""The tables in README.md are the committed results."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load_script():
    spec = importlib.util.spec_from_file_location("eval_readme", ROOT / "eval" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_holds_the_tables_made_from_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert load_script().with_tables(text) == text


def test_a_changed_number_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = load_script()
    changed = script.replace(text, "results", "| sasrec | 0.9999 |")
    assert changed != text
    assert script.with_tables(changed) == text
