"""The examples of docs/signatures.md run as they stand, one after another in one folder."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "signatures.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_page_has_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.filterwarnings("ignore")
def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in EXAMPLES:
        exec(compile(example, str(PAGE), "exec"), names)
    assert len(names["read"].bad) == 1
    assert names["result"].methods.keys() >= {"los_net", "boosting", "length"}
