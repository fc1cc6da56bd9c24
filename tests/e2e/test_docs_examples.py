"""What the pages of docs/ show runs as it stands, on the tiny simulation for a larger one."""

import re
from pathlib import Path

import pytest

from llmrec.recommenders.sra_cl import SRACLConfig
from llmrec.runs.recipe import parse_recipe

DOCS = Path(__file__).parents[2] / "docs"
SHORTER = {
    "simulate:small@1": "simulate:tiny@1",
    '"epochs": 10': '"epochs": 1',
    "dim=64": "dim=8",
    'text_encoder="tfidf"': 'text_encoder="tfidf:16"',
}


def blocks(page, language):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))


def test_every_python_block_of_sra_cl_runs_after_the_ones_before_it(elsewhere):
    names, texts_of_users = {}, []
    found = blocks("sra_cl.md", "python")
    assert len(found) >= 4
    for block in found:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, "sra_cl.md", "exec"), names)
        if not names["model"].is_fitted:
            names["model"].fit(names["split"].train_histories())
        texts_of_users.append(names["model"].details["texts"]["users"])
    assert texts_of_users == ["mean", "mean", "given", "mean"]
    assert names["found"]["sequences"]["holds_target"] == 0


def test_the_recipe_of_sra_cl_is_valid():
    import yaml

    (text,) = blocks("sra_cl.md", "yaml")
    recipe = parse_recipe(yaml.safe_load(text))
    assert recipe.model.name == "sra_cl"
    assert recipe.seeds == (1, 2, 3)


def test_settings_that_the_page_names_exist():
    text = (DOCS / "sra_cl.md").read_text(encoding="utf-8")
    fields = SRACLConfig.model_fields
    assigned = set(re.findall(r"`(\w+): [\w.]+", text))
    assert len(assigned) >= 6
    assert assigned <= fields.keys()
    for name in ("alpha", "anchors", "mask_alike", "user_text", "neighbor_bank", "cold_items"):
        assert f"`{name}`" in text or f"`{name}:" in text
        assert name in fields
