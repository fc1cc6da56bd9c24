"""Logged responses as they come from the API: every form, and every way to be bad."""

import gzip
import json

import numpy as np
import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.inference.signature import FLOOR
from llmrec.signatures.readers import LogOptions, read_openai_log, read_signatures


def legacy(tokens=(" Yes", "."), rows=None, values=None, text=None, **more):
    rows = rows if rows is not None else [{t: -0.1, " No": -2.5} for t in tokens]
    values = [-0.1] * len(tokens) if values is None else values
    logprobs = {"tokens": list(tokens), "token_logprobs": values, "top_logprobs": rows}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "text": "".join(tokens) if text is None else text,
        "logprobs": logprobs,
    }
    return {"id": "cmpl-1", "model": "served", "choices": [choice], **more}


def chat(top, text="Yes", logprob=-0.1, **more):
    content = [{"token": text, "logprob": logprob, "top_logprobs": top}]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content},
    }
    return {"id": "chat-1", "model": "served", "choices": [choice], **more}


def one(token, logprob):
    return {"token": token, "logprob": logprob}


def read(tmp_path, *lines, strict=False, **options):
    path = tmp_path / "log.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return read_openai_log(path, LogOptions(**options), strict=strict)


def only(found):
    assert found.bad == ()
    assert len(found.set) == 1
    return found.set.records[0]


def test_bare_responses_of_both_kinds(tmp_path):
    found = read(tmp_path, legacy(), chat([one("Yes", -0.1), one("No", -2.0)]), k=3)
    assert found.bad == ()
    assert found.set.ids == ["cmpl-1", "chat-1"]
    first, second = found.set.records
    assert first.tokens == (" Yes", ".")
    np.testing.assert_allclose(second.topk_logprobs[0], [-0.1, -2.0, FLOOR])
    assert second.fingerprint == {"served_model": "served"}
    with pytest.raises(DataError, match="have no label"):
        _ = found.set.labels


def test_logged_beside_the_request_and_what_is_known(tmp_path):
    line = {
        "id": "q7",
        "request": {"temperature": 0.8, "top_p": 0.9, "stop": "\n"},
        "prompt": "Is it?",
        "correct": False,
        "task": "yes-no",
        "response": legacy(),
    }
    found = read(tmp_path, line, {**line, "id": "q8", "correct": None, "label": 0}, k=2)
    assert found.set.labels.tolist() == [1.0, 0.0]
    assert found.set.groups[0] == found.set.groups[1]  # the same prompt
    assert found.set.examples["task"].to_list() == ["yes-no"] * 2
    record = found.set.records[0]
    assert (record.temperature, record.top_p) == (0.8, 0.9)


def test_lines_of_the_batch_api(tmp_path):
    line = {"id": "batch_req_1", "custom_id": "mine", "response": {"status_code": 200}}
    line["response"]["body"] = legacy()
    failed = {"custom_id": "x", "response": None, "error": {"message": "too long"}}
    found = read(tmp_path, line, failed)
    assert len(found.set) == 1
    assert "line 2: the server answered with an error: too long." in str(found.bad[0])


def test_choices_become_records_of_one_group(tmp_path):
    response = legacy()
    response["choices"].append({**response["choices"][0], "index": 1})
    found = read(tmp_path, {"prompt": "p", "response": response})
    assert found.set.ids == ["cmpl-1#0", "cmpl-1#1"]
    assert len(set(found.set.groups)) == 1


def test_rows_with_fewer_and_with_more_values(tmp_path):
    """K, K + 1 with the actual token appended, fewer, none at all: one canonical form."""
    rows = [
        {"a": -0.5, "b": -1.5},
        {"b": -1.0, "c": -1.2, "a": -3.0},
        {"a": -0.2},
        None,
    ]
    response = legacy(("a",) * 4, rows, [-0.5, -3.0, -0.2, -0.7])
    record = only(read(tmp_path, response, k=2))
    assert record.topk_valid.tolist() == [[True, True], [True, True], [True, False], [False] * 2]
    np.testing.assert_allclose(record.topk_logprobs[1], [-1.0, -1.2])
    np.testing.assert_allclose(record.actual_logprob, [-0.5, -3.0, -0.2, -0.7])
    assert record.actual_rank.tolist() == [0, 2, 0, 0]
    assert record.rank_censored.tolist() == [False, True, False, True]


@pytest.mark.parametrize("value", ["-Infinity", "-9999.0"])
def test_minus_infinity_in_both_ways_of_writing(tmp_path, value):
    line = json.dumps(legacy(("a",), [{"a": -0.5, "b": "X"}], [-0.5])).replace('"X"', value)
    record = only(read(tmp_path, line, k=2))
    np.testing.assert_allclose(record.topk_logprobs[0], [-0.5, FLOOR])
    np.testing.assert_allclose(record.tail_logmass[0], np.log(1 - np.exp(-0.5)), rtol=1e-5)


def test_ties_share_the_better_rank(tmp_path):
    response = legacy(("b",), [{"a": -1.0, "b": -1.0, "c": -2.0}], [-1.0])
    record = only(read(tmp_path, response, k=3))
    assert record.actual_rank.tolist() == [0]


def test_tokens_of_one_text_are_told_apart_by_their_value(tmp_path):
    """Two tokens decode to the same text; the dictionary keeps one of them, not the actual one."""
    response = legacy(("a",), [{"a": -0.4, "b": -1.5}], [-2.0])
    record = only(read(tmp_path, response, k=2))
    assert record.actual_logprob.tolist() == [-2.0]
    assert record.actual_rank.tolist() == [2]
    assert record.rank_censored.tolist() == [True]
    bytes_apart = [
        {**one("\ufffd", -0.4), "bytes": [226]},
        {**one("\ufffd", -1.4), "bytes": [227]},
    ]
    response = chat(bytes_apart, "\ufffd", -1.4)
    response["choices"][0]["logprobs"]["content"][0]["bytes"] = [227]
    record = only(read(tmp_path, response, k=2))
    assert record.actual_rank.tolist() == [1]


def test_a_sampled_token_beyond_the_values_has_a_censored_rank(tmp_path):
    line = {"temperature": 1.0, "response": chat([one("No", -0.2), one("So", -2.2)], "Yes", -7.5)}
    record = only(read(tmp_path, line, k=2))
    assert record.temperature == 1.0
    assert (record.actual_rank[0], record.rank_censored[0]) == (2, True)


BAD = {
    "no log-probabilities": (chat([]) | {"choices": [{"index": 0, "finish_reason": "stop",
        "message": {"content": "Yes"}, "logprobs": None}]}, "has no log-probabilities"),
    "empty": (legacy((), [], [], text=""), "the answer is empty"),
    "truncated": ('{"id": "x", "choices": [{"te', "no JSON"),
    "not an object": ("[1, 2]", "no JSON object"),
    "no choices": ({"id": "x", "choices": []}, "no choices"),
    "no response": ({"prompt": "p", "response": "text"}, "holds no response"),
    "NaN": (json.dumps(legacy()).replace("-2.5", "NaN"), "holds nan, no number"),
    "positive": (legacy(rows=[{" Yes": 0.7}] * 2), "is no log-probability"),
    "cut by a filter": (legacy() | {"choices": [{**legacy()["choices"][0],
        "finish_reason": "content_filter"}]}, "content filter"),
    "label": ({"label": 3, "response": legacy()}, "label is 3"),
    "again": (legacy(), "'cmpl-1' was there before"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_and_the_good_ones_are_kept(tmp_path, case):
    line, sentence = BAD[case]
    found = read(tmp_path, legacy(), line, {"id": "last", "response": legacy()})
    assert found.set.ids == ["cmpl-1", "last"]
    assert [(bad.line, sentence in bad.reason) for bad in found.bad] == [(2, True)]
    assert str(found.bad[0]).startswith(f"{tmp_path}/log.jsonl, line 2: ")
    with pytest.raises(DataError, match="line 2: "):
        read(tmp_path, legacy(), line, strict=True)


def test_tokens_of_another_vocabulary_are_refused(tmp_path):
    found = read(tmp_path, legacy(), vocabulary={" Yes", " No"})
    assert "the token '.' is not in the given vocabulary of 2 tokens" in found.bad[0].reason
    assert len(read(tmp_path, legacy(), vocabulary={" Yes", "."}).set) == 1


def test_bytes_that_are_not_utf8_and_files_cut_short(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(json.dumps(legacy()).encode() + b'\n{"id": "\xff"}\n')
    assert "line 2: byte 9 is not UTF-8." in str(read_openai_log(path).bad[0])
    lines = [json.dumps(legacy() | {"id": f"i{i}", "x": str(i) * 50}) for i in range(200)]
    whole = gzip.compress("\n".join(lines).encode())
    short = tmp_path / "log.jsonl.gz"
    short.write_bytes(whole[: len(whole) - 40])
    found = read_openai_log(short)
    assert 0 < len(found.set) < 200
    assert "truncated or damaged from here on" in found.bad[-1].reason


def test_a_file_without_one_good_line(tmp_path):
    found = read(tmp_path, "no", "neither")
    with pytest.raises(DataError, match=r"2 were refused.*line 1: this is no JSON"):
        found.require_some()
    with pytest.raises(DataError, match="is missing"):
        read_openai_log(tmp_path / "nowhere.jsonl")


def test_groups_by_a_field(tmp_path):
    path = tmp_path / "log.jsonl"
    line = {"subject": "law", "response": legacy()}
    path.write_text(json.dumps(line) + "\n" + json.dumps({"response": legacy()}))
    found = read_signatures(path, group="subject")
    assert found.set.groups == ["law"]
    assert "the field 'subject' that names the group is missing" in found.bad[0].reason
    with pytest.raises(ConfigError, match="did you mean 'openai'"):
        read_signatures(path, "openia")
    with pytest.raises(ConfigError, match="k=0"):
        LogOptions(k=0)
