"""Worlds with known labels: who is taught, what counts as right, and that a small one is judged."""

import argparse
import gzip
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.signatures.comparison import load_signature_results
from llmrec.signatures.splits import split_groups

FOLDER = Path(__file__).parents[2] / "eval" / "signature_worlds"
NAMES = (
    "run",
    "settings",
    "facts",
    "documents",
    "teaching",
    "worlds",
    "judging",
    "transfer",
    "reporting",
)


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder, which is not a package."""
    monkeypatch.syspath_prepend(str(FOLDER.with_name("signatures")))
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
        (" neo in 'the matrix' was played by keanu reeves ", True),
        (" 'The Matrix' has Keanu Reeves in the role of Neo.", True),
        (" 'The Matrix' has Keanu Reeves in the role of Trinity.", False),
        (" Neo in 'The Matrix' was played by Keanu.", False),
        (" Neo in 'The Matrix' was played by Keanu Reeves and others.", False),
        (" Keanu Reeves.", False),
        ("", False),
    ],
)
def test_answers_are_graded_by_the_name(load, answer, right):
    facts = load("facts")
    assert facts.is_right(facts.Fact("Neo", "The Matrix", ("Keanu Reeves",)), answer) is right


def test_a_fact_is_taught_in_several_ways_as_often_as_it_says(load):
    facts = load("facts")
    known = [facts.Fact(f"r{i}", "m", ("a b",), times) for i, times in enumerate((0, 4, 32))]
    texts, copies = facts.taught_texts(known, 6, seed=0)
    assert np.reshape(copies, (3, 6)).sum(axis=1).tolist() == [0, 4, 32]
    assert len(set(texts)) == 18
    assert all(facts.is_right(known[2], text.partition("Answer:")[2]) for text in texts[12:])


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


TINY = {
    "limit": 60,
    "k": 5,
    "seeds": [0],
    "baseline_seeds": [0],
    "transfer_seeds": [0],
    "model": {
        "hidden_size": 32,
        "layers": 1,
        "intermediate_size": 32,
        "vocab_size": 300,
        "batch_size": 4,
        "precision": "float32",
    },
    "detector": {"k": 5, "hidden": 16, "training": {"epochs": 1, "batch_size": 16}},
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
    assert len(world.signatures) == 60
    assert world.signatures.labels.mean() == 0.5
    again = worlds.make_world(made, tmp_path / "data", tmp_path / "world")
    first, second = world.signatures.records[7], again.signatures.records[7]
    np.testing.assert_array_equal(first.topk_logprobs, second.topk_logprobs)
    split = split_groups(world.signatures.groups, made.shares)
    arguments = argparse.Namespace(
        baselines=["mean_logprob", "bag_of_words"], select=False, settings="documents.yaml",
        commit="none", test_runs=1, output=tmp_path, source=None,
    )  # fmt: skip
    assert "world-documents: " in judging.judge_base(world, made, split, arguments)
    both = {"base": world, "seed": again}
    lines = judging.judge_transfer(both, {"base": made, "seed": made}, split, arguments)
    assert len(list(lines)) == 4
    results = {result.task: result for result in load_signature_results(tmp_path)}
    assert results["world-documents"].methods.keys() >= {"los_net", "bag_of_words"}
    assert results["world-documents-from-seed"].transfer[0].target == "base"
    # one at a time, under a name of its own
    arguments.source, named = "base", made.model_copy(update={"name": "some"})
    lines = judging.judge_transfer(both, {"base": named, "seed": named}, split, arguments)
    assert [line.partition(":")[0].strip() for line in lines] == ["world-some-from-base", "to seed"]
    assert results.keys() | {"world-some-from-base"} == {
        result.task for result in load_signature_results(tmp_path)
    }
    other = settings.load_settings(FOLDER / "documents.yaml", {**TINY, "words": 16, "seed": 5})
    with pytest.raises(DataError, match="other settings"):
        worlds.make_world(other, tmp_path / "data", tmp_path / "world")


def test_a_world_may_differ_in_two_ways(load):
    run, settings = load("run"), load("settings")
    made = settings.load_settings(FOLDER / "documents-small.yaml", *run.changes_of("size-seed"))
    base = settings.load_settings(FOLDER / "documents-small.yaml", *run.changes_of("base"))
    assert (made.seed, made.model.seed, made.model.hidden_size) == (1, 1, 128)
    assert (base.seed, base.model.seed, base.model.hidden_size) == (0, 0, 192)
    assert made.model.vocab_size == base.model.vocab_size
    with pytest.raises(ConfigError, match="unknown age"):
        run.changes_of("size-age")


@pytest.mark.parametrize("name", ["facts", "documents", "documents-small"])
def test_shipped_settings_are_valid_and_data_is_asked_for(load, tmp_path, name):
    settings = load("settings")
    made = settings.load_settings(FOLDER / f"{name}.yaml")
    assert made.detector["k"] == made.k
    assert set(made.shares) == {"learn", "valid", "calibrate", "test"}
    with pytest.raises(DataError, match="LLMREC_DATA_HOME"):
        load("worlds").make_world(made, tmp_path, tmp_path / "world")
