"""What docs/llm_ranker.md shows runs as it stands, on the tiny simulation for a larger one."""

import re
from pathlib import Path

import yaml

from llmrec.recommenders.llm_ranker import LLMRankerConfig
from llmrec.runs.recipe import parse_recipe

PAGE = Path(__file__).parents[2] / "docs" / "llm_ranker.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_example_runs_after_the_ones_before_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("python"):
        exec(compile(block.replace("simulate:small@1", "simulate:tiny@1"), PAGE, "exec"), names)
    assert names["listwise"].counts.share_legal == 0.0
    assert names["listwise"].counts.asked == 2


def test_the_recipe_is_valid():
    (text,) = blocks("yaml")
    assert parse_recipe(yaml.safe_load(text)).model.name == "llm_ranker"


def test_settings_that_the_page_names_exist():
    table = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(table) >= 7
    assert set(table) <= LLMRankerConfig.model_fields.keys()
