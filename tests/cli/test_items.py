"""``llmrec items tokenize`` on the tiny simulation."""

import json

import pytest

from llmrec.cli import main
from llmrec.recommenders.onerec.tokenizer.semantic_ids import SemanticIds

TASK = """name: tiny
version: 1
description: The tiny simulation.
dataset: simulate:tiny@1
split:
  name: leave_one_out
metrics: [ndcg@10]
"""


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TASK)
    return str(path)


def run(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(["items", "tokenize", *words])
    out = capsys.readouterr()
    return stopped.value.code, out.out, out.err


def test_ids_quality_and_page_are_written(task, tmp_path, capsys):
    folder = tmp_path / "ids"
    settings = ["--set", "codes=8", "--set", "levels=3", "--encoder", "tfidf:16"]
    code, out, _ = run(capsys, task, "--output", str(folder), *settings, "--json")
    assert code == 0
    told = json.loads(out)
    ids = SemanticIds.load(folder)
    assert told["quality"]["fingerprint"] == ids.fingerprint
    assert ids.sizes == (8, 8, 8)
    assert ids.seen[0].part == "train"
    assert "<svg" in (folder / "report.html").read_text()
    assert json.loads((folder / "quality.json").read_text())["items"] == len(ids)
    code, out, _ = run(capsys, task, "--output", str(folder), *settings)
    assert code == 0
    assert "items that share an ID" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "codez=8"], "did you mean 'codes'?"),
        (["--set", "codes"], "has no value; write name=value"),
        (["--set", "codes.x=8"], "'codes' has no settings inside"),
        (["--set", "codes=100000"], "fewer than the 100000 codes of a level"),
        (["--text", "review"], "write title or profile"),
    ],
)
def test_a_mistake_is_one_sentence(task, tmp_path, capsys, words, message):
    code, _, error = run(capsys, task, "--output", str(tmp_path / "ids"), *words)
    assert code == 2
    assert message in error
    assert not (tmp_path / "ids").exists()


def test_a_folder_with_something_else_is_refused_before_the_work(
    task, tmp_path, capsys, monkeypatch
):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    monkeypatch.setattr("llmrec.data.named.load_dataset", None)  # reading data would fail
    code, out, err = run(capsys, task, "--output", str(tmp_path / "notes"))
    assert (code, out) == (2, "")
    assert "notes exists and is not a directory that llmrec wrote" in err
