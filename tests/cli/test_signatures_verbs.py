"""``llmrec signatures`` on drawn signatures, raw responses and the fake model."""

import io
import json

import pytest

from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.request_lines import read_lines, result_line
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture
def store(tmp_path):
    records, labels = labelled_signatures(300, 0, lengths=(1, 2), contrast=6.0)
    found = SignatureSet.of(records, labels, task=["ab"[i % 2] for i in range(300)])
    SignatureStore(tmp_path / "store").append(found)
    return tmp_path / "store"


def response(name, logprobs=((-0.1, -2.5), (-0.7, -0.8))):
    content = [
        {
            "token": "a",
            "logprob": row[0],
            "top_logprobs": [
                {"token": f"t{i}", "logprob": v} for i, v in enumerate(row[1:])
            ] + [{"token": "a", "logprob": row[0]}],
        }
        for row in logprobs
    ]  # fmt: skip
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"content": "a" * len(content)},
        "logprobs": {"content": content},
    }
    usage = {"prompt_tokens": 1, "completion_tokens": len(content)}
    return {"id": name, "model": "served", "choices": [choice], "usage": usage}


@pytest.fixture
def raw(tmp_path):
    lines = []
    for i in range(120):
        sure = -0.05 if i % 3 else -1.2
        row = response(f"r{i}", ((sure, -3.5), (-0.2 - 0.01 * i, -2.0)))
        lines.append(json.dumps({"id": f"q{i}", "label": int(i % 3 == 0), "response": row}))
    path = tmp_path / "raw.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def piped(monkeypatch):
    def pipe(data):
        class Stdin(io.TextIOWrapper):
            pass

        monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(data), encoding="utf-8"))

    return pipe


def test_train_then_score_what_a_model_printed(llmrec_cli, store, tmp_path, piped):
    detector = tmp_path / "detector"
    done = llmrec_cli(
        "signatures", "train", store, "--output", detector, "--method", "mean_margin",
        "--alpha", 0.4, "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    card = json.loads(done.out)
    assert sum(card["records"].values()) == 300
    assert card["test"]["auc"] > 0.6
    assert "certainty 0.95" in card["threshold"]
    loaded = CalibratedDetector.from_pretrained(detector)
    assert loaded.card["test"] == card["test"]

    lines = read_lines(["abc", "de"], "generate", {"logprobs": 4, "decoding": {"max_tokens": 3}})
    answers = FakeLanguageModel().generate([line.request for line in lines])
    printed = [result_line(li, a) for li, a in zip(lines, answers, strict=True)]
    piped("\n".join(printed).encode())
    refused = llmrec_cli("signatures", "score", detector)
    assert refused.status == 2
    assert "standard input, line 1: this detector was trained on records of" in refused.err
    assert "--force" in refused.err
    piped("\n".join(printed).encode())
    with pytest.warns(UserWarning, match="scores may be off"):
        forced = llmrec_cli("signatures", "score", detector, "--force")
    rows = [json.loads(line) for line in forced.out.splitlines()]
    risks = loaded.predict_risk([a.signature for a in answers], on_mismatch="warn")
    assert [row["risk"] for row in rows] == pytest.approx(risks.tolist(), abs=1e-5)
    assert {row["decision"] for row in rows} <= {"answer", "flag"}


def test_raw_responses_with_bad_lines_are_scored_and_named(llmrec_cli, raw, tmp_path, piped):
    detector = tmp_path / "detector"
    done = llmrec_cli(
        "signatures", "train", raw, "--output", detector, "--method", "mean_logprob",
        "--false-alarms", 0.2,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "Flags risks above" in done.out
    good = json.dumps(response("new")).encode()
    silent = json.dumps({**response("mute"), "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"content": "a"}}]}).encode()  # fmt: skip
    piped(b"\n".join([good, b"\xff{", b'{"id": 1', silent, b"", good]))
    scored = llmrec_cli("signatures", "score", detector, "--json")
    assert scored.status == 2
    rows = [json.loads(line) for line in scored.out.splitlines()]
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 6]
    assert ["risk" in row for row in rows] == [True, False, False, False, True]
    assert rows[0]["id"] == "new"
    assert "line 2: byte 1 is not UTF-8" in scored.err
    assert "line 3: this is no JSON" in scored.err
    assert "line 4: the response has no log-probabilities" in scored.err
    assert "3 of 5 answers have no risk." in scored.err
    shown = llmrec_cli("signatures", "score", detector, raw, "--heat-map")
    assert shown.status == 0
    assert "q0  risk 0." in shown.out
    assert "\x1b" not in shown.out  # no terminal


def test_report_from_raw_files_in_one_command(llmrec_cli, raw, tmp_path):
    with raw.open("a") as stream:
        stream.write('{"id": "cut", "resp\n')
    output = tmp_path / "page.html"
    done = llmrec_cli(
        "signatures", "report", raw, "--output", output, "--method", "mean_logprob",
        "--alpha", 0.2, "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["records"] == 120
    assert "raw.jsonl, line 121" in found["bad"][0]
    assert f"{raw}, line 121: " in done.err
    assert "<h3>ROC</h3>" in output.read_text()


def test_report_by_a_detector_and_labels_from_a_table(llmrec_cli, store, tmp_path):
    detector = tmp_path / "d"
    llmrec_cli("signatures", "train", store, "--output", detector, "--method", "min_logprob")
    records, labels = labelled_signatures(60, 5, lengths=(1, 2), contrast=6.0)
    bare = SignatureSet.of(records, ids=[f"n{i}" for i in range(60)])
    SignatureStore(tmp_path / "new").append(bare)
    table = tmp_path / "labels.csv"
    rows = "".join(f"n{i},{int(label)},{i // 2}\n" for i, label in enumerate(labels))
    table.write_text("id,label,group\n" + rows)
    words = ("signatures", "report", tmp_path / "new", "--detector", detector)
    done = llmrec_cli(*words, "--labels", table, "--output", tmp_path / "p.html")
    assert done.status == 0, done.err
    assert "min_logprob" in done.out
    table.write_text("id,label\nn0,7\n")
    bad = llmrec_cli(*words, "--labels", table)
    assert bad.status == 2
    assert "label '7'" in bad.err
    table.write_text("id,label\nzzz,1\n")
    assert "knows none of the 60 records" in llmrec_cli(*words, "--labels", table).err


def test_capture_goes_on_where_it_stopped(llmrec_cli, tmp_path):
    asked, output = tmp_path / "asked.jsonl", tmp_path / "captured"
    asked.write_text(
        '{"prompt": "ab", "id": "x", "label": 1, "group": "g", "subject": "s"}\n'
        '{"prompt": "plain"}\n'
    )
    words = ("signatures", "capture", "fake", asked, "--output", output, "--k", 3)
    plan = llmrec_cli(*words, "--dry-run", "--json")
    assert json.loads(plan.out)["calls"] == 2
    assert not output.exists()
    first = llmrec_cli(*words, "--max-tokens", 4, "--form", "auto")
    assert first.status == 0, first.err
    found = SignatureStore(output).read()
    row = found.examples.row(found.ids.index("x"), named=True)
    assert (row["label"], row["group"], row["subject"], row["prompt"]) == (1.0, "g", "s", "ab")
    assert {record.k for record in found.records} == {3}
    with asked.open("a") as stream:
        stream.write('{"prompt": "more"}\n')
    again = llmrec_cli(*words, "--max-tokens", 4, "--json")
    assert json.loads(again.out) == {
        "store": str(output), "added": 1, "known": 2, "failed": [], "records": 3,
    }  # fmt: skip


def test_capture_of_given_texts_and_refusals(llmrec_cli, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a text\nanother\n")
    words = ("signatures", "capture", "fake", texts, "--output", tmp_path / "s")
    assert llmrec_cli(*words, "--kind", "input").status == 0
    records = SignatureStore(tmp_path / "s").read().records
    assert {record.kind for record in records} == {"input"}
    bad = llmrec_cli(*words, "--kind", "inptu")
    assert bad.status == 2
    assert "did you mean 'input'" in bad.err
    texts.write_text('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}\n')
    assert "line 2: the id '1' was there before" in llmrec_cli(*words).err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "nowhere.csv"], "nowhere.csv is missing"),
        (["train", "STORE", "--where", "task"], "COLUMN=VALUE"),
        (["train", "STORE", "--where", "tusk=a"], "did you mean 'task'"),
        (["train", "STORE", "--method", "magic"], "unknown baseline 'magic'"),
        (["train", "STORE", "--method", "zlib", "--set", "hidden=3"], "has no settings"),
        (["train", "STORE", "--alpha", "0.1", "--precision", "0.9"], "one rule"),
        (["train", "STORE", "--alpha", "2"], "alpha is 2.0; expected a share between 0 and 1"),
        (["train", "STORE", "--delta", "0"], "delta is 0.0; expected a share between 0 and 1"),
        (["train", "STORE", "--costs", "five"], "like 5:1"),
        (["train", "STORE", "--test-share", "0.9"], "leave"),
        (["score", "nowhere"], "no detector ready for use"),
        (["report", "STORE", "--leave-out", "tsk"], "did you mean 'task'"),
        (["report", "STORE", "--mode", "raw"], "unknown mode 'raw'"),
        (["report", "STORE", "--method", "zlip"], "unknown baseline 'zlip'; did you mean 'zlib'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(llmrec_cli, store, words, sentence):
    done = llmrec_cli("signatures", *[store if word == "STORE" else word for word in words])
    assert done.status == 2
    assert sentence in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("verb", ["train", "compare"])
def test_records_without_labels_are_told_what_they_lack(llmrec_cli, tmp_path, verb):
    records, _ = labelled_signatures(20, 0)
    SignatureStore(tmp_path / "s").append(SignatureSet.of(records))
    done = llmrec_cli("signatures", verb, tmp_path / "s")
    assert (done.status, done.out) == (2, "")
    assert "none of the 20 records has a label" in done.err
    assert "--labels" in done.err


def test_labels_of_one_class_have_no_detector(llmrec_cli, tmp_path):
    records, _ = labelled_signatures(40, 0)
    SignatureStore(tmp_path / "s").append(SignatureSet.of(records, [1.0] * 40))
    done = llmrec_cli("signatures", "train", tmp_path / "s", "--method", "mean_logprob")
    assert done.status == 2
    assert "both labels are needed" in done.err
