"""Raw completions beside their questions, and tables of token probabilities."""

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.signatures.readers import read_signatures, read_token_table
from llmrec.signatures.readers.graded import extract, gold, read_graded_completions
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore

AQUA = {"options": ["A)8:30 AM", "B)8.55 AM", "C)8:45 PM"], "correct": "B"}
MMLU = {"choices": ["15.4%", "17.8%", "20.0%", "82.1%"], "answer": 3}
GSM = {"answer": "2+3 = <<2+3=5>>5\n#### 1,920"}


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        ("Therefore, the correct answer is A) 8:30 AM.", AQUA, "A"),
        ("A) is wrong, so is C).\nAnswer: B", AQUA, "B"),
        ("So the closest answer is D) 10!/2, but this is not the correct answer.", MMLU, "D"),
        ("This is option C) 9.8 m/s^2.", MMLU, "C"),
        ("Hence 82.1%", MMLU, "D"),
        ("Between 15.4% and 82.1%", MMLU, None),
        ("", MMLU, None),
        ("She made $1,920.00 in 12 days, that is $160 a day.", GSM, "160"),
        ("The total is $1,920.", GSM, "1920"),
        ("I do not know.", GSM, None),
    ],
)
def test_what_a_completion_answers(text, row, said):
    assert extract(text, row) == said


def test_gold_answers():
    assert [gold(AQUA), gold(MMLU), gold(GSM), gold({"answer": "#### 29.00"})] == [
        "B", "D", "1920", "29",
    ]  # fmt: skip
    with pytest.raises(DataError, match="the gold answer is"):
        gold({"answer": "something"})


def test_a_wrong_answer_has_label_1(tmp_path):
    """Polarity: the risk of a known wrong answer is 1."""
    lines = []
    for place, number in enumerate([1920, 7]):
        text = f" It is {number}."
        logprobs = {"tokens": [text], "token_logprobs": [-0.1], "top_logprobs": [{text: -0.1}]}
        choice = {"index": 0, "finish_reason": "stop", "text": text, "logprobs": logprobs}
        row = {"question": f"q{place}", **GSM}
        lines.append({"task": "t", "row": row, "prompt": "p", "response": {"choices": [choice]}})
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines, {"response": lines[0]["response"]}])))
    found = read_signatures(path)
    assert found.set.labels.tolist() == [0.0, 1.0]
    assert found.set.examples["extracted"].to_list() == ["1920", "7"]
    assert len(set(found.set.groups)) == 2
    assert "no row with a question" in found.bad[0].reason


TABLE = (
    "question_id,subject,mode,gold,tokens,probs\n"
    "q1,algebra,Direct,b,b a \\u00c3 c,0.5 0.3 0.1 0.05\n"
    "q2,algebra,Direct,a,c d,0.6 0.4001\n"
    "q3,law,Direct,b,d b,0.4 0.4\n"
    "q4,law,Direct,b,d b,0.4\n"
    "q5,law,Direct,b,d b,0.9 0.4\n"
    "q6,law,Direct,b,d b,0.9 x\n"
    "q7,law,Direct,b,,\n"
    "q8,law,Direct,b,a c b,0.2 0.0 0.7\n"
    "q9,law\n"
)


def test_a_table_of_token_probabilities(tmp_path):
    path = tmp_path / "some-model.csv.gz"
    path.write_bytes(gzip.compress(TABLE.encode()))
    found = read_token_table(path, k=4, group="subject")
    assert found.set.examples["question_id"].to_list() == ["q1", "q2", "q3", "q8"]
    assert found.set.labels.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert found.set.groups == ["algebra", "algebra", "law", "law"]
    first, second, third, last = found.set.records
    np.testing.assert_allclose(first.topk_logprobs[0], np.log([0.5, 0.3, 0.1, 0.05]), rtol=1e-6)
    assert first.fingerprint == {"model": "some-model"}
    np.testing.assert_allclose(second.topk_logprobs[0, 0], math.log(0.6 / 1.0001), rtol=1e-5)
    assert third.actual_rank.tolist() == [0]  # a tie is broken by the order of the tokens
    assert last.tokens == ("b",)
    np.testing.assert_allclose(last.topk_logprobs[0, :2], np.log([0.7, 0.2]), rtol=1e-6)
    reasons = {bad.line: bad.reason for bad in found.bad}
    assert reasons.keys() == {5, 6, 7, 8, 10}
    assert "2 tokens have 1 values" in reasons[5]
    assert "sum at most 1" in reasons[6]
    assert "no number" in reasons[7]
    assert "no tokens" in reasons[8]
    assert "2 fields instead of 6" in reasons[10]


def test_a_table_of_log_probabilities_with_floors(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("question_id,tokens,logprobs\nq,a b c,-0.5 -9999 -inf\n")
    found = read_signatures(path)
    record = found.set.records[0]
    np.testing.assert_allclose(record.topk_logprobs[0, 0], -0.5)
    assert found.set.examples["label"].to_list() == [None]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no table of token probabilities"):
        read_signatures(path)


def test_a_store_is_recognised(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(TABLE)
    tables = read_signatures(path).set
    SignatureStore(tmp_path / "s").append(tables)
    both = read_signatures([tmp_path / "s"])
    assert both.set.ids == tables.ids
    with pytest.raises(DataError, match="no store of signatures"):
        read_signatures(path, "store")
    assert len(SignatureSet.concat([both.set])) == 4


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("LLMREC_DATA_HOME"), reason="LLMREC_DATA_HOME is not set")
def test_the_public_completions():
    home = Path(os.environ["LLMREC_DATA_HOME"])
    found = read_graded_completions(home / "completions-top20" / "GSM8k.jsonl.gz")
    assert found.bad == ()
    assert len(found.set) == 30
    assert 0.2 < found.set.labels.mean() < 0.6
    assert {record.k for record in found.set.records} == {20}
    assert all(record.topk_valid.sum(axis=1).max() == 20 for record in found.set.records)
