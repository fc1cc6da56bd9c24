"""``llmrec profiles write``: by a template and by the fake model, in parts, and what is refused."""

import json

import pytest

from llmrec.inference.cache import ResponseCache
from llmrec.inference.fake import FakeLanguageModel
from llmrec.profiles import Profiles

TASK = """\
name: little
version: 1
description: A little world.
dataset: simulate:tiny@1
split: {name: leave_one_out}
metrics: [ndcg@10]
"""
FAKE = ("--model", "fake", "--max-tokens", 5, "--granularity", "user")


@pytest.fixture
def write(llmrec_cli, tmp_path):
    (tmp_path / "little.yaml").write_text(TASK)

    def run(*words, output="profiles"):
        words = ("profiles", "write", tmp_path / "little.yaml", *words)
        return llmrec_cli(*words, "--output", tmp_path / output)

    return run


def test_a_template_writes_profiles_of_prefixes(write, tmp_path):
    shown = write("--every", 4)
    assert shown.status == 0, shown.err
    found = Profiles.load(tmp_path / "profiles")
    assert found.kind == "user"
    assert set(found.frame["n_events"].to_list()) <= set(range(1, 200, 4))
    assert found.texts[0].startswith("Chosen, newest first:")
    assert f"{len(found):,} profiles saved" in shown.out


def test_a_language_model_writes_profiles(write, tmp_path):
    cache = tmp_path / "answers.sqlite"
    words = (*FAKE, "--before", "user_profile", "--cache", cache)
    told = json.loads(write(*words, "--json").out)
    found = Profiles.load(tmp_path / "profiles")
    assert told["texts"] == len(found)
    assert "Chosen, newest first" in found.texts[0]
    assert ResponseCache(cache).forget(str(found.ids[0])) == 1


def test_a_dry_run_asks_nothing(write, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeLanguageModel, "generate", None)
    told = json.loads(write(*FAKE, "--dry-run", "--json").out)
    assert told["calls"] == told["texts"] > 10
    assert told["characters"] > told["approx_tokens"] > 0
    assert "answers come on top" in write(*FAKE, "--dry-run").out
    assert not list(tmp_path.glob("profiles*"))


def test_parts_make_the_whole(write, tmp_path, monkeypatch):
    expected = write(*FAKE, output="whole")
    assert expected.status == 0, expected.err
    for part in ("1/2", "2/2"):
        shown = write(*FAKE, "--shard", part)
        assert "run it without" in shown.out
        assert not (tmp_path / "profiles").exists()
    monkeypatch.setattr(FakeLanguageModel, "generate", None)
    assert write(*FAKE).status == 0  # asks nothing any more
    left, right = (Profiles.load(tmp_path / name).frame for name in ("whole", "profiles"))
    assert left.equals(right)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--kind", "user"), "unknown kind of profiles 'user'; did you mean 'users'?"),
        (("--granularity", "evry"), "unknown granularity 'evry'; did you mean 'every_m'?"),
        (("--before", "user_profile"), "are about a language model; name one with --model"),
        (("--model", "tinny:x"), "did you mean 'tiny'?"),
        (("--template", "user_profil"), "did you mean 'user_profile'?"),
        (("--shard", "3"), "expected i/n"),
        (("--shard", "999/999"), "shard 999/999 is empty"),
        (("--model", "fake", "--kind", "items"), "holds no JSON object"),
    ],
)
def test_what_is_refused(write, tmp_path, words, sentence):
    shown = write(*words)
    assert shown.status == 2
    assert sentence in shown.err
    assert not (tmp_path / "profiles").exists()


def test_a_folder_with_something_else_is_refused_before_the_work(write, tmp_path, monkeypatch):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    monkeypatch.setattr("llmrec.data.named.load_dataset", None)  # reading data would fail
    shown = write(output="notes")
    assert (shown.status, shown.out) == (2, "")
    assert "notes exists and is not a directory that llmrec wrote" in shown.err
