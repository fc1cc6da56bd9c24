"""What docs/onerec.md shows of semantic IDs and the search runs as it stands, on a small world."""

import re
from pathlib import Path

import numpy as np
import pytest

from llmrec.recommenders.onerec.tokenizer import TokenizerConfig

PAGE = Path(__file__).parents[2] / "docs" / "onerec.md"
SHORTER = {
    "simulate:small@1": "simulate:tiny@1",
    '"tfidf"': '"tfidf:16"',
    '"epochs": 10': '"epochs": 1',
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))


def test_the_python_blocks_run_after_one_another(elsewhere):
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, "onerec.md", "exec"), names)
    assert np.array_equal(names["more"].codes[:-1], names["ids"].codes)
    assert 10**6 in names["larger_model"].vocabulary
    assert names["items"].shape == (2, 10)
    assert (names["items"] > 0).all()
    assert names["model"].recommend_session(names["model"].known_histories.take([0])).height == 3


def test_settings_that_the_page_names_exist():
    text = PAGE.read_text(encoding="utf-8")
    for name in TokenizerConfig.model_fields:
        if name not in ("levels", "codes", "rounds", "seed"):
            assert f"`{name}`" in text or f"`{name}." in text, name
