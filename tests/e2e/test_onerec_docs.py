"""What docs/onerec.md shows of semantic IDs and the search runs as it stands, on a small world."""

import re
from pathlib import Path

import numpy as np
import pytest

from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.recommenders.onerec.config import OneRecConfig
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
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


SIZES = {"levels", "codes", "rounds", "seed", "dim", "heads", "encoder_layers", "decoder_layers"}
SIZES |= {"feed_forward", "expert_width", "dropout"}  # which say themselves what they decide


@pytest.mark.parametrize(
    ("config", "place"),
    [(TokenizerConfig, ""), (GeneratorConfig, "generator."), (AlignmentConfig, "")],
)
def test_the_page_tells_of_every_setting(config, place):
    text = PAGE.read_text(encoding="utf-8")
    for name in config.model_fields.keys() - SIZES:
        assert any(f"`{word}{end}" in text for word in (name, place + name) for end in "`.:"), name


def test_settings_in_the_tables_exist():
    text = PAGE.read_text(encoding="utf-8")
    known = {*OneRecConfig.model_fields, *AlignmentConfig.model_fields}
    known |= {f"generator.{name}" for name in GeneratorConfig.model_fields}
    known |= {*GeneratorConfig.model_fields, "training.group_by_length"}
    tables = re.findall(r"\n\| setting [^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", text)
    rows = [row.split("|")[1] for table in tables for row in table.splitlines()]
    assert len(rows) > 15
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        assert name in known, name
