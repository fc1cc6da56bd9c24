"""What vLLM gives back, written out by hand, as results."""

from types import SimpleNamespace

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.inference.requests import Decoding, GenerateRequest
from llmrec.inference.signature import FLOOR
from llmrec.inference.vllm_records import generation_of, rows_of, scored_of


class Letters:
    eos = frozenset({0})

    def decode(self, ids):
        return "".join(chr(token) for token in ids if token)

    def piece(self, token):
        return chr(token)


ABOUT = {"vocab_size": 200, "fingerprint": {"backend": "vllm"}}
# rows of: the token there, then the two most probable; ranks count from 1
TOKENS = [97, 97, 98, 99, 97, 98, 0, 0, 97]
VALUES = [-0.5, -0.5, -1.5, -6.0, -0.25, -2.0, -1.0, -1.0, -1.0]
RANKS = [1, 1, 2, 40, 1, 2, 2, 1, 2]


def flat(tokens=TOKENS, values=VALUES, ranks=RANKS):
    return SimpleNamespace(token_ids=tokens, logprobs=values, ranks=ranks)


def output(ids=(97, 99, 0), logprobs=None, stop_reason=None):
    return SimpleNamespace(
        token_ids=list(ids), logprobs=logprobs or flat(), stop_reason=stop_reason
    )


def test_record_of_an_answer():
    found = generation_of(GenerateRequest("x", logprobs=2), [120], output(), Letters(), **ABOUT)
    assert (found.text, found.finish, found.tokens, found.prompt_tokens) == ("ac", "stop", 3, 1)
    assert found.logprob == pytest.approx(-7.5)
    record = found.signature
    np.testing.assert_allclose(record.topk_logprobs, [[-0.5, -1.5], [-0.25, -2], [-1, -1]])
    np.testing.assert_array_equal(record.topk_ids, [[97, 98], [97, 98], [0, 97]])
    np.testing.assert_array_equal(record.actual_rank, [0, 39, 0])  # from 0, ties not counted
    assert not record.rank_censored.any()
    rest = np.log([1 - np.exp(-0.5) - np.exp(-1.5), 1 - np.exp(-0.25) - np.exp(-2.0)])
    np.testing.assert_allclose(record.tail_logmass[:2], rest, atol=1e-5)
    assert (record.has_eos, record.vocab_size, record.mode) == (True, 200, "raw_logprobs")
    assert record.tokens == ("a", "c", "\x00")


def test_an_ignored_end_is_a_token_like_others():
    request = GenerateRequest("x", Decoding(max_tokens=3, ignore_eos=True))
    only = flat([97, 99, 0], [-1.0, -2.0, -3.0], [1, 2, 3])
    found = generation_of(request, [120], output(logprobs=only), Letters(), **ABOUT)
    assert (found.text, found.finish, found.tokens, found.signature) == ("ac", "length", 3, None)


def test_tokens_after_a_stop_text_do_not_count():
    request = GenerateRequest("x", Decoding(max_tokens=9, stop=("c",)), logprobs=2)
    found = generation_of(request, [120], output(stop_reason="c"), Letters(), **ABOUT)
    assert (found.text, found.finish, found.tokens) == ("a", "stop", 2)
    assert found.logprob == pytest.approx(-6.5)
    assert len(found.signature) == 2
    assert not found.signature.has_eos


def test_improbable_tokens_stay_within_the_floor():
    rows = rows_of(flat([97, 98, 97], [-np.inf, 0.0, -np.inf], [200, 1, 2]), 2, [97])
    found = scored_of(rows, "a", Letters(), k=2, **ABOUT)
    assert found.logprob == FLOOR
    np.testing.assert_array_equal(found.signature.topk_logprobs, [[0.0, FLOOR]])
    assert found.signature.actual_rank[0] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_logits_are_an_error(value):
    damaged = flat(values=[*VALUES[:3], value, *VALUES[4:]])
    request = GenerateRequest("x", logprobs=2)
    answer = generation_of(request, [120], output(logprobs=damaged), Letters(), **ABOUT)
    assert "token 2 of the answer are not finite" in answer.error
    sentence = scored_of(rows_of(damaged, 2, [97, 99, 0]), "ac", Letters(), k=2, **ABOUT)
    assert "token 2 of the scored text are not finite" in sentence


def test_missing_log_probabilities_are_an_error():
    with pytest.raises(DataError, match="gave 0 log-probabilities where 3 tokens with 3 each"):
        rows_of(None, 2, [97, 99, 0])
    with pytest.raises(DataError, match="gave 9 log-probabilities where 3 tokens with 4 each"):
        rows_of(flat(), 3, [97, 99, 0])
    with pytest.raises(DataError, match=r"other tokens .* Asked for \[97, 98, 0\], got"):
        rows_of(flat(), 2, [97, 98, 0])
