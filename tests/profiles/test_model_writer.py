"""A language model as a writer of profiles: what it is asked, how answers are read, what fails."""

import pytest

from llmrec.errors import DataError
from llmrec.profiles import ProfileRequest, ProfileRequests, WriterError, write_profiles
from llmrec.profiles.model_writer import Answer, ModelWriter, read_item_answer
from llmrec.templates import load_template

PLAIN = load_template("user_profile")
PROMPT = load_template("user_profile_continued")


def request(user, *titles):
    variables = {"titles": list(titles), "brands": [], "categories": []}
    return ProfileRequest("user", user, variables, len(titles), "x", None)


REQUESTS = ProfileRequests("user", (request("ann", "Pen", "Ink"), request("bob", "Cup")))


class Model:
    """Answers from a list, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, prompts, subjects):
        self.asked.append((list(prompts), list(subjects)))
        return self.answers


def test_prompts_and_answers():
    model = Model(Answer(" likes pens \n"), Answer("likes cups"))
    writer = ModelWriter(PROMPT, model, {"model": "m"})
    assert writer.write(REQUESTS) == ["likes pens", "likes cups"]
    assert model.asked == [
        (
            [
                "History of a user, oldest first:\nPen\nInk",
                "History of a user, oldest first:\nCup",
            ],
            ["ann", "bob"],
        )
    ]


def test_a_plain_profile_before_and_instead():
    model = Model(Answer("likes pens"), Answer("\n"))
    writer = ModelWriter(PROMPT, model, {}, before=PLAIN, instead=PLAIN)
    assert writer.write(REQUESTS) == [
        "Chosen, newest first: Ink; Pen\nlikes pens",
        "Chosen, newest first: Cup",
    ]
    assert writer.empty == 1


def test_whatever_changes_the_texts_changes_the_fingerprint():
    def fingerprint(template=PROMPT, identity="a", **options):
        return ModelWriter(template, Model(), {"model": identity}, **options).fingerprint

    others = [fingerprint(PLAIN), fingerprint(identity="b"), fingerprint(before=PLAIN)]
    assert len({fingerprint(), *others, fingerprint(instead=PLAIN)}) == 5
    assert fingerprint() == fingerprint()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer("", "gone."), "no profile of user 'bob' .1 events.: gone"),
        (Answer(" "), "no profile of user 'bob' .1 events.: the model's answer is empty"),
    ],
)
def test_a_failure_names_the_user_and_keeps_the_others(tmp_path, answer, sentence):
    writer = ModelWriter(PROMPT, Model(Answer("likes pens"), answer), {})
    with pytest.raises(WriterError, match=sentence + "; 1 of 2 profiles are kept"):
        write_profiles(REQUESTS, writer, tmp_path / "parts")
    again = Model(Answer("likes cups"))
    found = write_profiles(REQUESTS, ModelWriter(PROMPT, again, {}), tmp_path / "parts")
    assert found.texts.to_list() == ["likes pens", "likes cups"]
    assert again.asked[0][1] == ["bob"]


def test_a_template_that_needs_more_than_there_is():
    writer = ModelWriter(load_template("item_profile_llm"), Model(), {})
    with pytest.raises(WriterError, match="needs the variable 'title'"):
        writer.write(REQUESTS)


def test_an_item_answer_is_read_from_json():
    text = 'Here:\n```json\n{"summary": "A  pen.", "likely_users": "Writers.", "x": 1}\n```'
    assert read_item_answer(text) == "A pen.\nFor: Writers."


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("A pen.", "holds no JSON object: 'A pen.'"),
        ('{"summary": "A pen."', "holds no JSON object"),
        ('["a"]', "holds no JSON object"),
        ('{"summary": "A pen."}', "no text in the field 'likely_users'"),
        ('{"summary": 3, "likely_users": "x"}', "no text in the field 'summary'"),
    ],
)
def test_other_answers_are_refused(answer, sentence):
    with pytest.raises(DataError, match=sentence):
        read_item_answer(answer)
