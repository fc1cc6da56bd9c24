"""Reading of responses: every dialect of log-probabilities, and what is refused."""

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import chat, completion

from llmrec.errors import DataError
from llmrec.inference.openai_responses import Reading, read_echo, read_generation
from llmrec.inference.requests import Decoding
from llmrec.inference.signature import FLOOR


def legacy(tokens, values, rows, **more):
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": rows, **more}


def record_of(logprobs, k):
    return read_generation(completion("x", logprobs, tokens=1), Reading(k)).signature


def test_a_row_of_k_values():
    record = record_of(legacy(["b"], [-2.0], [{"c": -3.0, "a": -0.5, "b": -2.0}]), 3)
    np.testing.assert_array_equal(record.topk_logprobs, np.float32([[-0.5, -2.0, -3.0]]))
    assert (record.actual_logprob[0], record.actual_rank[0]) == (-2.0, 1)
    assert not record.rank_censored[0]
    left = 1 - math.exp(-0.5) - math.exp(-2) - math.exp(-3)
    assert record.tail_logmass[0] == pytest.approx(math.log(left), rel=1e-5)
    assert record.tokens == ("b",)
    assert record.mode == "unknown"
    assert record.topk_ids is None


def test_the_actual_token_appended_as_value_k_plus_1():
    record = record_of(legacy(["z"], [-9.0], [{"a": -0.5, "b": -2.0, "z": -9.0}]), 2)
    np.testing.assert_array_equal(record.topk_logprobs, [[-0.5, -2.0]])
    assert (record.actual_logprob[0], record.actual_rank[0]) == (-9.0, 2)
    assert record.rank_censored[0]


def test_the_actual_token_not_among_the_values():
    record = record_of(legacy(["z"], [-9.0], [{"a": -0.5, "b": -2.0}]), 2)
    assert (record.actual_logprob[0], record.actual_rank[0]) == (-9.0, 2)
    assert record.rank_censored[0]


def test_minus_9999_becomes_the_floor():
    record = record_of(legacy(["z"], [-9999.0], [{"a": -0.001, "b": -9999.0}]), 2)
    assert record.topk_logprobs[0, 1] == FLOOR
    assert record.actual_logprob[0] == FLOOR


def test_a_token_that_looks_like_the_actual_one_but_is_another():
    # two tokens print alike and fell together; the value says which one is left in the row
    record = record_of(legacy(["\ufffd"], [-4.0], [{"\ufffd": -0.5, "b": -1.5}]), 2)
    assert (record.actual_logprob[0], record.actual_rank[0]) == (-4.0, 2)


def test_rows_shortened_by_tokens_that_fell_together_are_kept():
    rows = [{"a": -0.5, "b": -2.0}, {"a": -0.5}]
    record = record_of(legacy(["a", "a"], [-0.5, -0.5], rows), 2)
    np.testing.assert_array_equal(record.topk_valid, [[True, True], [True, False]])
    assert record.topk_logprobs[1, 1] == FLOOR


def test_a_limit_of_the_server_shows_in_all_rows_and_is_refused():
    with pytest.raises(DataError, match="sent 1 log-probabilities at position 0, although 2"):
        record_of(legacy(["a", "a"], [-0.5, -0.5], [{"a": -0.5}] * 2), 2)


def test_tokens_as_ids():
    logprobs = legacy(["token_id:7"], [-1.0], [{"token_id:9": -0.5, "token_id:7": -1.0}])
    record = record_of(logprobs, 2)
    np.testing.assert_array_equal(record.topk_ids, [[9, 7]])
    assert record.actual_rank[0] == 1
    assert record.tokens is None


def test_tokens_as_bytes():
    logprobs = legacy(["bytes:\\xe2"], [-1.0], [{"bytes:\\xe2": -1.0, " a": -1.5}])
    record = record_of(logprobs, 2)
    assert record.actual_rank[0] == 0
    assert record.tokens == ("bytes:\\xe2",)


def entry(token, value, sent=None, top=()):
    found = {"token": token, "logprob": value, "bytes": sent}
    return found | {"top_logprobs": list(top)} if top else found


def chat_record(content, k):
    return read_generation(chat("x", content), Reading(k)).signature


def test_chat_tells_tokens_apart_by_their_bytes():
    top = [entry("\ufffd", -0.5, [226]), entry("\ufffd", -1.0, [227])]
    record = chat_record([entry("\ufffd", -1.0, [227], top)], 2)
    np.testing.assert_array_equal(record.topk_logprobs, [[-0.5, -1.0]])
    assert (record.actual_logprob[0], record.actual_rank[0]) == (-1.0, 1)


def test_chat_with_token_ids():
    top = [entry("a", -0.5) | {"id": 5}, entry("b", -1.0) | {"id": 3}]
    record = chat_record([entry("b", -1.0, top=top)], 2)
    np.testing.assert_array_equal(record.topk_ids, [[5, 3]])


def test_every_row_of_chat_must_be_full():
    content = [entry("a", -0.5, top=[entry("a", -0.5), entry("b", -1.0)])]
    content += [entry("a", -0.5, top=[entry("a", -0.5)])]
    with pytest.raises(DataError, match="at position 1, although 2"):
        chat_record(content, 2)


def test_the_form_of_chat_in_a_completion():
    content = [entry("a", -0.5, top=[entry("a", -0.5)])]
    assert record_of({"content": content}, 1).actual_rank[0] == 0


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(list(zip("abcdefgh", np.log(np.arange(8, 0, -1) / 40.0), strict=True))),
    st.integers(1, 8),
    st.integers(0, 7),
)
def test_order_and_form_do_not_matter(row, k, actual):
    best = sorted(row, key=lambda pair: -pair[1])
    token, value = row[actual]
    sent = best[:k] if row[actual] in best[:k] else [*best[:k], row[actual]]
    shuffled = [pair for pair in row if pair in sent]
    one = record_of(legacy([token], [value], [dict(shuffled)]), k)
    top = [entry(name, found) for name, found in shuffled]
    two = chat_record([entry(token, value, top=top)], k)
    for name in ("topk_logprobs", "actual_logprob", "actual_rank", "rank_censored"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_allclose(one.topk_logprobs[0], [found for _, found in best[:k]], rtol=1e-6)
    place = best.index(row[actual])
    assert (one.actual_rank[0], one.rank_censored[0]) == (min(place, k), place >= k)


@pytest.mark.parametrize(
    ("choice", "text", "has_eos"),
    [
        ({"stop_reason": None}, "a", True),  # vLLM at the end-of-text token
        ({"stop_reason": "b"}, "a", False),  # vLLM at a stop text
        ({}, "a", True),  # the last token is no part of the text
        ({}, "ab", False),
    ],
)
def test_whether_the_last_position_is_the_end_of_text(choice, text, has_eos):
    logprobs = legacy(["a", "b"], [-0.5, -0.5], [{"a": -0.5}, {"b": -0.5}])
    response = completion(text, logprobs, tokens=2, **choice)
    assert read_generation(response, Reading(1)).signature.has_eos is has_eos


def test_a_stop_text_is_not_an_end_of_text_token():
    logprobs = legacy(["a", "b"], [-0.5, -0.5], [{"a": -0.5}, {"b": -0.5}])
    reading = Reading(1, Decoding(stop=("b",)))
    assert not read_generation(completion("a", logprobs, tokens=2), reading).signature.has_eos


def test_log_probabilities_of_chosen_tokens_alone_give_the_sum_without_a_record():
    found = read_generation(completion("ab", legacy(["a", "b"], [-1.0, -2.5], None)), Reading())
    assert (found.logprob, found.signature) == (-3.5, None)


@pytest.mark.parametrize(
    ("logprobs", "why"),
    [
        (legacy(["a"], [float("nan")], [{"a": -1.0}]), "no number"),
        (legacy(["a"], ["-1"], [{"a": -1.0}]), "no number"),
        (legacy(["a"], [-1.0], [{"a": True}]), "no number"),
        (legacy(["a"], [0.5], [{"a": 0.5}]), "no log-probability"),
        (legacy(["a", "b"], [-1.0], [{"a": -1.0}]), "token_logprobs does not fit"),
        (legacy(["a"], [-1.0], ["a"]), "no JSON object"),
        (legacy(["a"], [-1.0], None), "sent 0 log-probabilities"),
        ({"content": [{"logprob": -1.0}]}, "has no token"),
        ({}, "no log-probabilities"),
        ([], "no log-probabilities"),
    ],
)
def test_log_probabilities_that_are_none(logprobs, why):
    with pytest.raises(DataError, match=why):
        record_of(logprobs, 1)


def test_fewer_positions_than_tokens():
    logprobs = legacy(["a"], [-0.5], [{"a": -0.5}])
    with pytest.raises(DataError, match="of 1 tokens, but generated 5"):
        read_generation(completion("a", logprobs, tokens=5), Reading(1))


def echoed(tokens, offsets, text):
    rows = [None] + [{token: -1.0} for token in tokens[1:]]
    values = [None] + [-1.0] * (len(tokens) - 1)
    return completion(text, legacy(tokens, values, rows, text_offset=offsets), "length")


def test_echo_with_a_begin_of_text_token_in_front():
    response = echoed(["<s>", "ab", "c"], [0, 3, 5], "abc")
    scored, before = read_echo(response, 0, Reading(1), "ab", "c")
    assert (scored.logprob, scored.tokens, before) == (-1.0, 1, 2)


def test_echo_where_a_token_reaches_into_the_continuation():
    with pytest.raises(DataError, match="reaches from the prompt"):
        read_echo(echoed(["a", "bc", "d"], [0, 1, 3], "abcd"), 0, Reading(1), "ab", "cd")


def test_echo_of_a_continuation_with_nothing_before_it():
    for tokens, text in ((["a"], "a"), (["a", "b"], "ab")):
        with pytest.raises(DataError, match="nothing comes before"):
            read_echo(echoed(tokens, [0, 1][: len(tokens)], text), 0, Reading(1), "", text)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["AQuA", "GSM8k", "MMLU"])
def test_logged_responses_of_openai(name):
    home = os.environ.get("LLMREC_DATA_HOME")
    path = Path(home or "") / "completions-top20" / f"{name}.jsonl.gz"
    if not home or not path.exists():
        pytest.skip("LLMREC_DATA_HOME has no completions-top20")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 30
    for row in rows:
        response = row["response"]
        found = read_generation(response, Reading(20))
        sent = response["choices"][0]["logprobs"]
        record = found.signature
        assert found.finish == "stop"
        assert found.tokens == len(record) == response["usage"]["completion_tokens"]
        assert found.logprob == pytest.approx(sum(sent["token_logprobs"]))
        assert record.topk_valid.all()
        values = np.array([sorted(top.values(), reverse=True) for top in sent["top_logprobs"]])
        np.testing.assert_allclose(record.topk_logprobs, values, rtol=1e-6)
        above = (values > np.array(sent["token_logprobs"])[:, None]).sum(axis=1)
        np.testing.assert_array_equal(record.actual_rank, above)
        assert not record.rank_censored.any()
        assert record.tokens == tuple(sent["tokens"])
        assert record.fingerprint["served_model"] == "gpt-3.5-turbo-instruct-0914"
        assert not record.has_eos
