"""Results as bytes."""

import json

import pytest
from hypothesis import given, settings
from result_strategies import assert_same, generations, scores

from llmrec.errors import ArtifactError
from llmrec.inference.result_bytes import result_from_bytes, result_to_bytes
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.signature import Position, record_of_positions


@settings(max_examples=40, deadline=None)
@given(generations | scores)
def test_a_result_comes_back_bit_for_bit(result):
    assert_same(result_from_bytes(*result_to_bytes(result)), result)


def test_the_texts_of_a_score_are_not_mixed_up():
    score = Score(tuple(Scored(-float(i), 1, record_at(-float(i))) for i in range(12)), 1)
    assert_same(result_from_bytes(*result_to_bytes(score)), score)


def record_at(value):
    positions = [Position([value], actual=0)]
    about = {"vocab_size": None, "mode": "unknown", "kind": "input", "has_eos": False}
    return record_of_positions(positions, 1, **about)


def test_without_a_record_there_are_no_arrays():
    value, arrays = result_to_bytes(Generation("hi", "stop", 1, 1))
    assert arrays == b""
    assert json.loads(value)["text"] == "hi"


@pytest.mark.parametrize(
    ("value", "arrays"),
    [
        ("{", b""),
        ("{}", b""),
        ('{"type": "generation", "signature": null, "colour": 1}', b""),
        ('{"type": "generation", "text": "x", "signature": {"tokens": null}}', b""),
        ('{"type": "score", "texts": []}', b"not safetensors"),
    ],
)
def test_what_is_no_stored_result(value, arrays):
    with pytest.raises(ArtifactError, match="damaged"):
        result_from_bytes(value, arrays)
