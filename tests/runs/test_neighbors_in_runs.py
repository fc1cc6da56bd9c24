"""What a run keeps about text neighbours: the file, the card, the report, and what is uploaded."""

import pytest

from llmrec.runs.card import render_card
from llmrec.runs.directory import RunDirectory
from llmrec.runs.execute import evaluate_run, train
from llmrec.runs.recipe import parse_recipe
from llmrec.runs.reporting import report_runs
from llmrec.storage import read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_task):
    model = {"name": "sra_cl", "dim": 8, "blocks": 1, "neighbors": 3, "text_encoder": "tfidf:16"}
    values = {"name": "small", "task": str(tiny_task), "model": model, "training": {"epochs": 1}}
    folder = tmp_path_factory.mktemp("sra-cl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_HOME", str(folder / "home"))
        return train(parse_recipe(values), folder / "run")


def test_a_run_keeps_the_report_and_its_card_says_the_most_important(run):
    found = read_json(run.path / "neighbors.json")
    assert found["sequences"]["described"] > 0
    card = (run.path / "README.md").read_text()
    same_next = f"{100 * found['sequences']['same_next']:.1f} %"
    category = f"{100 * found['items']['same_category_slots']:.1f} %"
    assert (
        "Sequences: 0.0 % of the neighbours are of the same user; 0.0 % of the sequences have a "
        f"neighbour that holds their next item, {same_next} one that is followed by it." in card
    )
    assert f"Items: {category} of the neighbours have the item's category;" in card


def test_a_later_evaluation_keeps_both(run):
    before = read_json(run.path / "neighbors.json")
    evaluate_run(run, part="valid")
    assert read_json(run.path / "neighbors.json") == before
    assert "Text neighbours it learnt from" in (run.path / "README.md").read_text()


def test_the_report_has_the_section(run, trained, tmp_path):
    both = report_runs([trained / "pop", run.path], tmp_path / "both.html").read_text()
    assert "<h2>Text neighbours</h2>" in both
    alone = report_runs([trained / "pop"], tmp_path / "alone.html").read_text()
    assert "<h2>Text neighbours</h2>" not in alone


def test_an_upload_leaves_it_out_unless_it_is_named(run, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run.stage(tmp_path / "a")
    run.stage(tmp_path / "b", include=["neighbors.json"])
    assert not (tmp_path / "a" / "neighbors.json").exists()
    assert (tmp_path / "b" / "neighbors.json").exists()


def test_other_models_keep_no_such_file(trained):
    assert not (trained / "sasrec" / "neighbors.json").exists()
    assert "Text neighbours" not in (trained / "sasrec" / "README.md").read_text()


def test_the_card_leaves_out_what_is_unknown(run):
    info = RunDirectory(run.path).info
    items = {"same_category_slots": None, "same_category_slots_by_chance": None}
    card = render_card(info, [], "here", {"schema": 1, "sequences": None, "items": items})
    assert "Text neighbours" not in card
    card = render_card(info, [], "here", {"schema": 1, "sequences": {"same_next": 0.5}})
    assert "an unknown share of the neighbours are of the same user" in card
    assert "50.0 % one that is followed by it" in card
