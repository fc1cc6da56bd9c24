"""``llmrec lm`` and ``llmrec forget`` with the fake model and a model made in seconds."""

import io
import json

import pytest

from llmrec.cli.settings import nested_settings
from llmrec.errors import ConfigError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest
from llmrec.inference.tiny_names import find_tiny
from llmrec.templates import template_names
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

SMALL = [
    *("--set", "hidden_size=32", "--set", "layers=1", "--set", "context=64"),
    *("--set", "corpus.questions=3000", "--set", "corpus.histories=3000"),
    *("--set", "corpus.catalog=2000", "--set", "training.epochs=1"),
    *("--set", "training.precision=float32"),
]


@pytest.fixture
def piped(monkeypatch):
    def pipe(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return pipe


@pytest.fixture
def asked(tmp_path):
    path = tmp_path / "asked.jsonl"
    rows = [{"prompt": f"Line {n}", "id": n, "owner": f"u{n % 2}"} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_train_makes_a_model_that_its_name_opens(llmrec_cli, piped, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    words = ("lm", "train", "simulate:tiny@1", "--preset", "test", *SMALL)
    shown = llmrec_cli(*words)
    assert shown.status == 0
    assert "perplexity of held-out events" in shown.out
    found = find_tiny("tiny:simulate:tiny@1")
    assert found.name in shown.out
    again = json.loads(llmrec_cli(*words, "--json").out)
    assert again == {"name": found.name, "folder": str(found.folder), "trained": False}
    piped("The user liked:\n")
    (row,) = rows_of(llmrec_cli("lm", "generate", found.name, "--max-tokens", 4).out)
    assert row["tokens"] <= 4
    other = llmrec_cli(*words, "--set", "layers=2")
    assert other.status == 2
    assert "made with other settings" in other.err
    stays = json.loads(llmrec_cli("forget", "3", "--cache", tmp_path / "no", "--json").out)["stays"]
    assert found.name in stays[0]


def test_train_splits_as_a_task_does(llmrec_cli, tmp_path):
    words = ("lm", "train", "simulate:tiny@1", "--preset", "test", *SMALL)
    shown = llmrec_cli(*words, "--task", "simulate-small-global-time")
    assert shown.status == 2
    assert "is about 'simulate:small@1'" in shown.err
    task = tmp_path / "task.yaml"
    task.write_text(
        "name: t\nversion: 1\ndescription: t\ndataset: 'simulate:tiny@1'\n"
        "split: {name: global_time}\nmetrics: [ndcg@10]\n"
    )
    made = json.loads(llmrec_cli(*words, "--task", task, "--output", tmp_path / "m", "--json").out)
    assert made["trained"]
    assert (tmp_path / "m" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["simulate:tiny@1", "--preset", "smal"], "unknown preset 'smal'"),
        (["simulate:tiny@1", "--set", "layers"], "not of the form name=value"),
        (["simulate:tiny@1", "--set", "layrs=2"], "unknown key 'layrs'; did you mean 'layers'?"),
        (["simulate:tiny@1", "--preset", "test", "--text", "no.txt"], "no.txt cannot be read"),
        (["no-such-data"], "unknown data set 'no-such-data'"),
    ],
)
def test_train_refuses(llmrec_cli, words, sentence):
    shown = llmrec_cli("lm", "train", *words)
    assert (shown.status, shown.out) == (2, "")
    assert sentence in shown.err


def test_generate_answers_a_file(llmrec_cli, asked, tmp_path):
    output = tmp_path / "out.jsonl"
    shown = llmrec_cli("lm", "generate", "fake", asked, "--output", output, "--max-tokens", 5)
    assert (shown.status, shown.out, shown.err) == (0, "", "")
    decoding = Decoding(max_tokens=5)
    expected = FakeLanguageModel().generate(
        [GenerateRequest(f"Line {n}", decoding) for n in range(6)]
    )
    rows = rows_of(output.read_text())
    assert [row["text"] for row in rows] == [answer.text for answer in expected]
    assert [row["id"] for row in rows] == list(range(6))
    assert {path.name for path in tmp_path.iterdir()} == {"asked.jsonl", "out.jsonl"}


def test_score_reads_a_pipe_and_records(llmrec_cli, piped):
    piped("Answer:\n")
    words = ("--continuation", " Yes", "--continuation", " No", "--logprobs", 2)
    (row,) = rows_of(llmrec_cli("lm", "score", "fake", *words).out)
    assert [text["tokens"] for text in row["texts"]] == [4, 3]
    assert len(row["texts"][0]["signature"]["topk_ids"]) == 4


def test_dry_run_counts_and_then_hits(llmrec_cli, asked, tmp_path):
    cache = tmp_path / "cache.sqlite"
    words = ("lm", "generate", "fake", asked, "--cache", cache)
    assert "6 calls of about" in llmrec_cli(*words, "--dry-run").out
    assert not cache.exists()
    llmrec_cli(*words)
    plan = json.loads(llmrec_cli(*words, "--dry-run", "--json").out)
    assert (plan["calls"], plan["hits"], plan["approx_tokens"]) == (0, 6, 0)


def test_shards_and_merge(llmrec_cli, asked, tmp_path):
    whole = llmrec_cli("lm", "generate", "fake", asked).out
    for part in ("1/2", "2/2"):
        words = ("--shard", part, "--output", tmp_path / "parts")
        assert llmrec_cli("lm", "generate", "fake", asked, *words).status == 0
    assert llmrec_cli("lm", "merge", tmp_path / "parts").out == whole
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert names == {"requests.json", "shard-1-of-2.parquet", "shard-2-of-2.parquet"}


def test_adapters_are_loaded_and_used(llmrec_cli, piped, tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    adapter = save_tiny_adapter(tmp_path / "lora", base)
    outs = []
    for words in ((), ("--adapter", f"ann={adapter}", "--use", "ann")):
        piped("Once\n")
        words = (*words, "--option", "device=cpu", "--max-tokens", 6)
        outs.append(llmrec_cli("lm", "generate", f"hf:{base}", *words).out)
    assert outs[0] != outs[1]
    assert json.loads(outs[1])["tokens"] > 0


def test_a_line_that_fails_is_said_and_others_are_written(llmrec_cli, piped):
    piped("short\n" + "long " * 600 + "\n")
    shown = llmrec_cli("lm", "generate", "fake", "--max-tokens", 3)
    first, second = rows_of(shown.out)
    assert shown.status == 1
    assert "text" in first
    assert "over_long" in second["error"]
    assert shown.err.startswith("1 of 2 lines failed")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generate", "fak"], "unknown language model 'fak'"),
        (["generate", "fake", "no.txt"], "no.txt cannot be read"),
        (["generate", "fake", "--temperature", "1"], "line 1: temperature 1.0 samples"),
        (["generate", "fake", "--form", "json"], "did you mean 'jsonl'"),
        (["generate", "fake", "--adapter", "x"], "not of the form NAME=FOLDER"),
        (["generate", "fake", "--shard", "1/2"], "--shard needs --output"),
        (["generate", "fake", "--shard", "3/2", "--output", "o"], "expected a number from 1 to 2"),
        (["generate", "fake", "--option", "speed=1"], "no option 'speed'"),
        (["score", "fake", "--continuation", ""], "continuation 0 is empty"),
        (["merge", "nowhere"], "holds no shards"),
    ],
)
def test_asking_refuses(llmrec_cli, piped, words, sentence):
    piped("hello\n")
    shown = llmrec_cli("lm", *words)
    assert (shown.status, shown.out) == (2, "")
    assert sentence in shown.err


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_asked(
    llmrec_cli, piped, tmp_path
):
    (tmp_path / "notes").write_text("mine")
    for place, sentence in ((".", "is a directory"), ("notes/answers", "notes is a file")):
        piped("hello\n")
        shown = llmrec_cli("lm", "generate", "fake", "--output", tmp_path / place)
        assert (shown.status, shown.out) == (2, "")
        assert sentence in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    assert not tmp_path.with_name(f"{tmp_path.name}.unfinished").exists()


def test_prompts_are_listed_and_each_is_shown_filled(llmrec_cli):
    listed = json.loads(llmrec_cli("lm", "prompts", "--json").out)
    assert [row["name"] for row in listed] == template_names()
    assert "yes_no_question" in llmrec_cli("lm", "prompts").out
    for row in listed:
        shown = llmrec_cli("lm", "prompts", row["name"])
        assert shown.status == 0
        assert all(sentence in shown.out for sentence in row["variables"].values())
    words = (
        "yes_no_question",
        "--set",
        "title=Heat",
        "--set",
        "opinions=[[Ran, true]]",
    )
    filled = json.loads(llmrec_cli("lm", "prompts", *words, "--json").out)["filled"]
    assert filled == "Will the user like Ran? Yes\nWill the user like Heat?"
    assert "unknown template 'yes'" in llmrec_cli("lm", "prompts", "yes").err


def test_forget_says_what_went_and_what_stays(llmrec_cli, asked, tmp_path):
    cache = tmp_path / "cache.sqlite"
    llmrec_cli("lm", "generate", "fake", asked, "--cache", cache)
    shown = llmrec_cli("forget", "u1", "--cache", cache)
    assert shown.status == 0
    assert f"cache {cache}: 3 answers removed" in shown.out
    assert "train again" in shown.out
    assert ResponseCache(cache).size().entries == 3


def test_forget_goes_on_after_a_store_that_fails(llmrec_cli, asked, tmp_path):
    cache = tmp_path / "cache.sqlite"
    llmrec_cli("lm", "generate", "fake", asked, "--cache", cache, "--owner", "ann")
    shown = llmrec_cli("forget", "u0", "--profiles", tmp_path / "no", "--cache", cache, "--json")
    assert shown.status == 1
    removed = json.loads(shown.out)["removed"]
    assert [(row["removed"], row["error"] is None) for row in removed] == [(3, True), (0, False)]
    assert "say where to look" in llmrec_cli("forget", "u0").err


def test_sections_of_settings():
    assert nested_settings(["a.b=1", "a.c=[x]", "d=null"]) == {"a": {"b": 1, "c": ["x"]}, "d": None}
    with pytest.raises(ConfigError, match="'a' is a value"):
        nested_settings(["a=1", "a.b=2"])
    with pytest.raises(ConfigError, match="no valid YAML"):
        nested_settings(["a=["])
