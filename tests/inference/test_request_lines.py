"""Lines of requests: what is read, what is refused by its number, and what comes back."""

import json
import math

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.request_lines import (
    AskedLine,
    lines_from_json,
    lines_to_json,
    read_lines,
    result_line,
)
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored


def test_text_lines_are_prompts():
    found = read_lines(["Alien\n", "\n", " {x}\r\n"], "generate", {"logprobs": 2})
    assert found == [
        AskedLine(1, GenerateRequest("Alien", logprobs=2)),
        AskedLine(3, GenerateRequest(" {x}", logprobs=2)),
    ]


def test_lines_of_json_fill_in_defaults_field_by_field():
    defaults = {"decoding": {"max_tokens": 9, "stop": ["."]}, "adapter": "a"}
    lines = [
        json.dumps({"prompt": "é\n", "id": [1], "owner": 7, "decoding": {"max_tokens": 3}}),
        json.dumps({"prompt": "x", "adapter": None}),
    ]
    first, second = read_lines(lines, "generate", defaults)
    assert first.request == GenerateRequest("é\n", Decoding(max_tokens=3, stop=(".",)), adapter="a")
    assert (first.id, first.owner) == ([1], "7")
    assert second.request.adapter is None
    assert second.request.decoding.max_tokens == 9


def test_continuations_of_a_line_come_first():
    lines = ['{"prompt": "p", "continuations": ["a"]}', '{"prompt": "q"}']
    first, second = read_lines(lines, "score", {"continuations": ["x", "y"]})
    assert first.request == ScoreRequest("p", ("a",))
    assert second.request == ScoreRequest("q", ("x", "y"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"prompt": "a"', "no valid JSON"),
        ("[1]", "expected an object"),
        ('{"prompts": "a"}', "unknown field 'prompts' of a generate request; did you mean"),
        ("{}", "prompt: Field required"),
        ('{"prompt": 3}', "prompt: Input should be a valid string"),
        ('{"prompt": "a", "logprobs": "2"}', "logprobs: Input should be a valid integer"),
        ('{"prompt": "a", "decoding": {"max_tokens": 0}}', "max_tokens is 0; expected at least 1"),
        ('{"prompt": "a", "decoding": {"temp": 0}}', "decoding.temp: Unexpected keyword"),
        ('{"prompt": "a", "continuations": ["b"]}', "unknown field 'continuations'"),
    ],
)
def test_a_line_that_is_no_request_is_named(line, sentence):
    with pytest.raises(DataError) as caught:
        read_lines(['{"prompt": "fine"}', "", line], "generate", source="asked.jsonl", form="jsonl")
    assert str(caught.value).startswith("asked.jsonl line 3: ")
    assert sentence in str(caught.value)


def test_nothing_to_ask_is_said():
    with pytest.raises(DataError, match="standard input is empty"):
        read_lines(["\n", " "], "score", source="standard input")


def test_results_come_back_with_number_and_id():
    line = AskedLine(4, GenerateRequest("p"), {"a": 1})
    found = json.loads(result_line(line, Generation("hé", "stop", 3, 2, -1.5)))
    assert found == {
        "line": 4,
        "id": {"a": 1},
        "text": "hé",
        "finish": "stop",
        "prompt_tokens": 3,
        "tokens": 2,
        "logprob": -1.5,
    }
    failed = json.loads(result_line(line, Generation(error="too long.")))
    assert failed == {"line": 4, "id": {"a": 1}, "error": "too long."}
    score = json.loads(
        result_line(AskedLine(1, ScoreRequest("p")), Score((Scored(-math.inf, 1),), 2))
    )
    assert score["texts"] == [{"logprob": None, "tokens": 1}]


def test_records_are_lists():
    line = read_lines(["ab"], "score", {"logprobs": 3})[0]
    (score,) = FakeLanguageModel().score([line.request])
    found = json.loads(result_line(line, score))["texts"][0]["signature"]
    record = score.texts[0].signature
    np.testing.assert_array_equal(np.float32(found["topk_logprobs"]), record.topk_logprobs)
    assert found["topk_ids"] == record.topk_ids.tolist()
    assert found["tokens"] == ["a", "b"]


@pytest.mark.parametrize("kind", ["generate", "score"])
def test_lines_survive_json(kind):
    lines = ['{"prompt": "a", "id": null, "owner": "u"}', '{"prompt": "\\u00e9", "logprobs": 2}']
    found = read_lines(lines, kind, {"decoding": {"stop": ["x"]}} if kind == "generate" else {})
    written = json.loads(json.dumps(lines_to_json(found)))
    assert lines_from_json(written, kind) == found
