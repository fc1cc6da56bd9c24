import json

import numpy as np
import pytest

from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.request_lines import read_lines, result_line
from llmrec.signatures.baselines import make_baseline
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.record_lines import read_record_line
from llmrec.signatures.scoring_lines import LineScorer


def printed(texts, kind="generate", k=4):
    decoding = {"decoding": {"max_tokens": 5}} if kind == "generate" else {}
    lines = read_lines(texts, kind, {"logprobs": k, **decoding})
    model = FakeLanguageModel()
    requests = [line.request for line in lines]
    results = model.generate(requests) if kind == "generate" else model.score(requests)
    rows = [result_line(li, r) for li, r in zip(lines, results, strict=True)]
    return [row.encode() + b"\n" for row in rows], results


@pytest.fixture(scope="module")
def detector():
    _, answers = printed([f"text {i}" for i in range(60)])
    records = [answer.signature for answer in answers]
    labels = np.arange(60) % 2
    found = CalibratedDetector(make_baseline("mean_logprob")).fit(records, labels)
    return found.calibrate(records, labels, method="platt")


def test_a_printed_record_is_read_back():
    for kind in ("generate", "score"):
        rows, results = printed(["a line", "another one"], kind)
        for row, result in zip(rows, results, strict=True):
            ((record, about),) = read_record_line(row.decode(), "f", 7)
            first = result.signature if kind == "generate" else result.texts[0].signature
            for name in ("topk_logprobs", "actual_logprob", "actual_rank", "topk_ids", "topk_valid",
                         "rank_censored", "tail_logmass"):  # fmt: skip
                np.testing.assert_array_equal(getattr(record, name), getattr(first, name))
            assert (record.mode, record.kind, record.has_eos) == (
                first.mode, first.kind, first.has_eos,
            )  # fmt: skip
            assert dict(record.fingerprint) == dict(first.fingerprint)
            assert about == {"id": "f:7"}


def test_every_line_is_answered_before_the_next_is_read(detector):
    rows, _ = printed(["one", "two", "three"])
    read = []

    def stream():
        for row in rows:
            read.append(row)
            yield row

    for place, found in enumerate(LineScorer(detector).score(stream(), "f"), 1):
        assert len(read) == place
        assert found.judgement is not None


def test_blocks_give_the_same_answers_and_keep_bad_lines_in_place(detector):
    rows, _ = printed([f"line {i}" for i in range(9)])
    other = json.loads(rows[4])
    other["signature"]["mode"] = "processed_logprobs"
    broken = json.loads(rows[5])
    del broken["signature"]["topk_logprobs"]
    mixed = [*rows[:4], json.dumps(other).encode(), b"\n", b"{}\n", json.dumps(broken).encode(),
             *rows[6:]]  # fmt: skip
    one, many = LineScorer(detector), LineScorer(detector)
    single = list(one.score(mixed, "f"))
    together = list(many.score(mixed, "f", at_once=4))
    assert [(f.line, f.error) for f in single] == [(f.line, f.error) for f in together]
    bad = {found.line: found.error for found in together if found.error}
    assert set(bad) == {5, 7, 8}
    assert "mode processed_logprobs" in bad[5]
    assert "no topk_logprobs" in bad[8]
    risks = [[f.judgement.risk for f in found if f.judgement] for found in (single, together)]
    np.testing.assert_allclose(risks[0], risks[1], atol=1e-6)
    assert (many.judged, many.failed) == (7, 3)


def test_drift_is_noticed_on_the_way(detector):
    rows, _ = printed([f"t {i}" for i in range(120)])
    calm = LineScorer(detector, watch=60)
    list(calm.score(rows, "f"))
    assert not calm.drifts
    longer = [json.loads(row) for row in rows]
    for row in longer:
        for name, values in row["signature"].items():
            if isinstance(values, list):
                row["signature"][name] = values * 4
    shifted = LineScorer(detector, watch=60)
    list(shifted.score([json.dumps(row).encode() for row in longer], "f"))
    assert len(shifted.drifts) == 2
    assert "length" in shifted.drifts[0].sentence
