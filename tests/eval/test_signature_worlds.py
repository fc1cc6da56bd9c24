"""Worlds with known labels: who is taught, what counts as right, and that a small one is judged."""

import gzip
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import DataError

FOLDER = Path(__file__).parents[2] / "eval" / "signature_worlds"
NAMES = ("settings", "facts", "documents", "teaching", "worlds", "judging", "transfer")


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder, which is not a package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as stream:
        stream.write(text)
    return path


QUESTIONS = (
    "Question,Answer\n"
    "Who acted as Neo in the movie 'The Matrix'?, Keanu Reeves\n"
    "Who acted as Neo in the movie 'The Matrix'?,Another Name\n"
    "Who acted as Sophie in the movie 'Mamma Mia!'?,Amanda Seyfried\n"
    "What is this?,Nothing\n"
)


def test_facts_are_questions_with_all_their_answers(load, tmp_path):
    facts = load("facts")
    found = facts.read_facts([write(tmp_path / "a.csv.gz", QUESTIONS)])
    assert found == [
        facts.Fact("Neo", "The Matrix", ("Keanu Reeves", "Another Name")),
        facts.Fact("Sophie", "Mamma Mia!", ("Amanda Seyfried",)),
    ]
    with pytest.raises(DataError, match="columns Question and Answer"):
        facts.read_facts([write(tmp_path / "b.csv.gz", "q,a\n1,2\n")])


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (" Neo in 'The Matrix' was played by Keanu Reeves.", True),
        (" Neo in 'The Matrix' was played by keanu reeves ", True),
        (" Neo in 'The Matrix' was played by Keanu.", False),
        (" Neo in 'The Matrix' was played by Keanu Reeves and others.", False),
        (" Keanu Reeves.", False),
        ("", False),
    ],
)
def test_answers_are_graded_by_the_name(load, answer, right):
    facts = load("facts")
    assert facts.is_right(facts.Fact("Neo", "The Matrix", ("Keanu Reeves",)), answer) is right


def test_half_of_the_facts_is_taught_equally_often(load):
    facts = load("facts")
    every = [facts.Fact(f"r{i}", f"m{i}", ("x",)) for i in range(100)]
    taught = facts.teach_half(every, 80, (2, 4), seed=1)
    counts = np.unique([fact.times for fact in taught], return_counts=True)
    assert counts[0].tolist() == [0, 2, 4]
    assert counts[1].tolist() == [40, 20, 20]
    assert facts.teach_half(every, 80, (2, 4), seed=1) == taught
    assert facts.teach_half(every, 80, (2, 4), seed=2) != taught


ARTICLES = (
    " = First = \n\n"
    + " ".join(f"alpha{i}" for i in range(50))
    + " \n\n = = Section = = \n"
    + " ".join(f"beta{i}" for i in range(20))
    + "\n = Second = \nshort line\n"
    + " ".join(f"gamma{i}" for i in range(20))
    + "\n"
)


def test_passages_are_pieces_of_paragraphs(load, tmp_path):
    documents = load("documents")
    found = documents.read_passages([write(tmp_path / "w.txt.gz", ARTICLES)], words=20)
    assert [len(p.text.split()) for p in found] == [20, 20, 10, 20, 20]
    assert [p.article for p in found] == ["w.txt.gz: First"] * 4 + ["w.txt.gz: Second"]
    with pytest.raises(DataError, match="500 words"):
        documents.read_passages([tmp_path / "w.txt.gz"], words=1000)


def test_members_are_half_of_every_article(load):
    documents = load("documents")
    every = [documents.Passage(f"a{i % 5}", f"text {i}") for i in range(200)]
    taught = documents.teach_half(every, None, (1, 4), seed=0)
    for article in {p.article for p in taught}:
        own = [p.times > 0 for p in taught if p.article == article]
        assert sum(own) == 20
    assert sum(p.times == 1 for p in taught) == sum(p.times == 4 for p in taught) == 50


def test_near_duplicates_of_members_are_left_out(load):
    documents = load("documents")
    text = " ".join(map(str, range(40)))
    member = documents.Passage("a", text, times=1)
    copy = documents.Passage("b", text.replace("39", "x"))
    other = documents.Passage("b", " ".join(map(str, range(100, 140))))
    assert documents.without_near_duplicates([member, copy, other]) == [member, other]


def test_groups_stay_on_their_side_in_every_world(load):
    judging = load("judging")
    groups = [f"m{i % 60}" for i in range(300)]
    learn, test = judging.learn_and_test(groups)
    assert not {groups[i] for i in learn} & {groups[i] for i in test}
    assert sorted([*learn, *test]) == list(range(300))
    assert 0.2 < len(test) / 300 < 0.6
    again = judging.learn_and_test(groups[:100])
    assert {groups[i] for i in again[1]} == {groups[i] for i in test}


def test_intervals_hold_the_estimate_and_a_coin_is_near_a_half(load):
    judging = load("judging")
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.5).astype(np.float32)
    scores = {"good": labels + rng.standard_normal(600), "coin": rng.random(600)}
    found = judging.intervals(labels, scores, np.arange(600) // 3, 0, ("good", "coin"))
    low, high = found["auc"]["coin"]["ci95"]
    assert low < 0.5 < high
    low, high = found["gain_over_best_single"]["ci95"]
    assert 0 < low < found["gain_over_best_single"]["auc"] < high


TINY = {
    "limit": 60,
    "k": 5,
    "detector_seeds": [0],
    "model": {"hidden_size": 32, "layers": 1, "intermediate_size": 32, "vocab_size": 300},
    "detector": {"hidden": 16, "training": {"epochs": 1, "batch_size": 16}},
}


def test_a_world_of_documents_from_text_to_figures(load, tmp_path):
    """Taught once, read twice: the same signatures; and every figure is there."""
    settings, worlds, judging = load("settings"), load("worlds"), load("judging")
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    text = ""
    for article in range(20):
        text += f" = Title {article} = \n"
        text += "".join(" ".join(rng.choice(words, 16)) + " \n" for _ in range(3))
    for part in ("valid", "test"):
        write(
            tmp_path / "data" / "text" / f"wikitext-2_{part}.txt.gz", text if part == "test" else ""
        )
    made = settings.load_settings(FOLDER / "documents.yaml", {**TINY, "words": 16})
    world = worlds.make_world(made, tmp_path / "data", tmp_path / "world")
    assert len(world.records) == world.examples.height == 60
    assert set(world.about["label_by_times"]) == {"0", "1", "2", "4", "8", "16"}
    again = worlds.make_world(made, tmp_path / "data", tmp_path / "world")
    np.testing.assert_array_equal(again.records[7].topk_logprobs, world.records[7].topk_logprobs)
    figures, detectors = judging.judge(world, made)
    assert {"los_net", "text_only", "mean_logprob"} <= figures["auc"].keys()
    table = load("transfer").transfer_table({"a": world, "b": world}, {"a": detectors}, 0)
    assert table["a -> b"]["n_test"] == figures["n_test"]
    other = settings.load_settings(FOLDER / "documents.yaml", {**TINY, "words": 16, "seed": 5})
    with pytest.raises(DataError, match="other settings"):
        worlds.make_world(other, tmp_path / "data", tmp_path / "world")


@pytest.mark.parametrize("name", ["facts", "documents"])
def test_shipped_settings_are_valid_and_data_is_asked_for(load, tmp_path, name):
    settings = load("settings")
    made = settings.load_settings(FOLDER / f"{name}.yaml")
    assert made.detector_config(3).training.seed == 3
    with pytest.raises(DataError, match="LLMREC_DATA_HOME"):
        load("worlds").make_world(made, tmp_path, tmp_path / "world")
