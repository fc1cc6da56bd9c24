"""What an embedded model reads: only what it may, in the form that a ranker asks."""

import re

import numpy as np
import pytest
from small_films import CANARY, make_data

from llmrec.data import leave_one_out
from llmrec.errors import ConfigError, DataError
from llmrec.templates import load_template
from llmrec.tiny_lm.config import Corpus
from llmrec.tiny_lm.corpus import HISTORY, held_out_texts, training_documents
from llmrec.tiny_lm.events import held_out_events, training_events
from llmrec.tiny_lm.questions import NO, TEMPLATE, YES, held_out_questions

ASKED = re.compile(r"Will the user (like|choose) (.*)\? (Yes|No)")


@pytest.fixture(scope="module")
def documents(split):
    return training_documents(split, Corpus(catalog=10_000, histories=10_000, questions=60_000))[0]


def of_kind(documents, kind):
    asked = [text for text in documents.texts if ASKED.search(text)]
    told = [text for text in documents.texts if text.startswith(HISTORY)]
    rest = [text for text in documents.texts if text not in asked and text not in told]
    return {"questions": asked, "histories": told, "catalog": rest}[kind]


def test_a_held_out_item_is_known_from_the_catalogue_alone(documents):
    with_canary = [text for text in documents.texts if CANARY in text]
    told = [text for text in with_canary if text in of_kind(documents, "catalog")]
    assert len(told) == 1
    # elsewhere it may only be asked about as one that was drawn, and then the answer is No
    for text in set(with_canary) - set(told):
        lines = ASKED.findall(text)
        assert text.count(CANARY) == len([1 for _, title, _ in lines if title == CANARY])
        assert {a for action, t, a in lines if t == CANARY and action == "choose"} == {"No"}


def test_every_training_event_is_told_once_with_its_rating(documents, split):
    train = split.train_histories()
    lines = [line for text in of_kind(documents, "histories") for line in text.split("\n")[1:]]
    titles = split.dataset.catalog.titles.gather(train.items - 1).to_list()
    expected = [f"{t}: {r:g}" for t, r in zip(titles, train.ratings, strict=True)]
    assert sorted(lines) == sorted(expected)


def test_users_are_never_named(documents):
    assert not any(re.search(r"\bu\d+\b", text) for text in documents.texts)


def test_a_like_is_answered_by_the_rating(documents):
    found = [a for text in of_kind(documents, "questions") for a in ASKED.findall(text)]
    likes = [
        (title.startswith("Good"), answer == "Yes") for a, title, answer in found if a == "like"
    ]
    assert {good for good, _ in likes} == {True, False}
    assert all(good == yes for good, yes in likes)
    chosen = [answer for action, _, answer in found if action == "choose"]
    assert 0.35 < np.mean([answer == "Yes" for answer in chosen]) < 0.65


def test_documents_about_liking_are_the_shipped_template(documents):
    template = load_template(TEMPLATE)
    asked = [text for text in of_kind(documents, "questions") if "user like" in text]
    asked = [text for text in asked if text.endswith((YES, NO))]  # the bound may cut the last one
    for text in asked:
        found = [(title, answer == "Yes") for _, title, answer in ASKED.findall(text)]
        (title, yes), known = found[-1], found[:-1]
        prompt = template.render(opinions=known, chosen=[], action="like", title=title)
        assert prompt + (YES if yes else NO) == text
    assert {len(ASKED.findall(text)) for text in asked} == {1, 2, 3, 4, 5}


def test_documents_about_choices_begin_with_the_shipped_template(documents):
    template = load_template(TEMPLATE)
    asked = [text for text in of_kind(documents, "questions") if "user choose" in text]
    for text in asked:
        known = re.findall(r"The user chose: (.*)", text)
        titles = known[0].split("; ") if known else []
        first = ASKED.search(text)
        prompt = template.render(opinions=[], chosen=titles, action="choose", title=first[2])
        assert text.startswith(prompt + (YES if first[3] == "Yes" else NO))
    assert any("The user chose" in text for text in asked)
    assert not all("The user chose" in text for text in asked)


def test_events_are_told_in_the_order_of_their_user(documents, split):
    titles = split.dataset.catalog.titles
    train = split.train_histories()
    rows = [titles.gather(train[row] - 1).to_list() for row in range(len(train))]
    for text in of_kind(documents, "questions"):
        told = [title for action, title, _ in ASKED.findall(text) if action == "like"]
        told = told or [t for line in re.findall(r"chose: (.*)", text) for t in line.split("; ")]
        size = len(told)
        assert any(told == row[at : at + size] for row in rows for at in range(6 - size))


def test_tokens_that_begin_and_end_texts_are_broken_up(documents):
    assert not any("<eos>" in text for text in documents.texts)
    assert any("A < eos> bird." in text for text in documents.texts)


def test_bounds_hold_and_draws_repeat(split):
    corpus = Corpus(catalog=300, histories=500, questions=0)
    first, again = (training_documents(split, corpus)[0] for _ in range(2))
    other, _ = training_documents(split, Corpus(catalog=300, histories=500, questions=0, seed=1))
    assert first.texts == again.texts != other.texts
    assert first.characters == {"catalog": 300, "histories": 500, "questions": 0, "texts": 0}


def test_text_files_are_read_and_cut(split, tmp_path):
    path = tmp_path / "extra.txt"
    path.write_text("Ein längerer Text. " * 50, encoding="utf-8")
    small = Corpus(questions=0, texts=100)
    documents, _ = training_documents(split, small, [path])
    assert documents.counts["texts"] == 1
    assert ("Ein längerer Text. " * 50)[:100] in documents.texts
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"extra.txt is not UTF-8 \(byte 0\)"):
        training_documents(split, small, [path])
    with pytest.raises(DataError, match=r"no\.txt cannot be read: No such file"):
        training_documents(split, small, [tmp_path / "no.txt"])


def test_order_without_opinions_gives_questions_of_choice_only():
    split = leave_one_out(make_data(rated=False))
    documents, events = training_documents(split, Corpus(questions=5_000))
    assert events.liked is None
    assert "Will the user choose" in "".join(documents.texts)
    assert "Will the user like" not in "".join(documents.texts)
    assert not any(re.search(r": \d", text) for text in of_kind(documents, "histories"))


def test_a_threshold_outside_of_the_ratings_is_refused(split):
    with pytest.raises(
        ConfigError, match="liked_from is 9, but the training ratings run from 2 to 5"
    ):
        training_events(split, 9.0)


def test_held_out_questions_are_about_validation_events_after_training_ones(split):
    events = training_events(split, 4.0)
    held_out = held_out_events(split, 4.0, 100, 0)
    cases = split.cases("valid")
    np.testing.assert_array_equal(held_out.items, cases.targets)
    titles = split.dataset.catalog.titles
    questions = held_out_questions(events, held_out, "like")
    for place, question in enumerate(questions):
        title = titles[int(cases.targets[place]) - 1]
        assert question.prompt.endswith(f"Will the user like {title}?")
        assert question.yes == title.startswith("Good")
        for code in cases.histories[place]:
            assert titles[int(code) - 1] in question.prompt
    choices = held_out_questions(events, held_out, "choose")
    assert sum(question.yes for question in choices) == len(held_out.items)
    train = events.histories
    for question in choices:
        assert question.prompt.count("Will the user choose") == 1
    drawn = [q.item for q in choices if not q.yes]
    assert set(drawn) <= set(range(1, len(titles) + 1))
    assert len(train) == 24


def test_held_out_texts_tell_the_event_after_its_history(split):
    events = training_events(split, 4.0)
    held_out = held_out_events(split, 4.0, 100, 0)
    train = split.train_histories()
    for (before, line), item in zip(held_out_texts(events, held_out), held_out.items, strict=True):
        assert line.startswith(split.dataset.catalog.titles[int(item) - 1])
        assert line.rpartition(": ")[2] in ("5", "2")
        assert before.startswith(HISTORY)
        assert before.count("\n") == 1 + 5
    assert train.lengths.max() == 5


def test_held_out_events_are_drawn_where_there_are_too_many(split):
    few, again = (held_out_events(split, 4.0, 7, 3) for _ in range(2))
    assert len(few.items) == 7
    np.testing.assert_array_equal(few.items, again.items)


def test_answers_continue_a_question_by_a_blank():
    assert (YES, NO) == (" Yes", " No")
