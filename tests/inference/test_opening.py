"""Names of language models: what each opens, and what is said about the others."""

import json
from dataclasses import replace

import pytest

from llmrec.contracts import LanguageModel
from llmrec.data import leave_one_out
from llmrec.data.histories import Origin
from llmrec.data.named import load_dataset
from llmrec.errors import ArtifactError, ConfigError, ProtocolError
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.openai_client import OpenAICompatibleModel
from llmrec.inference.opening import FORMS, open_language_model, parse_name, seen_by
from llmrec.inference.requests import GenerateRequest
from llmrec.inference.seen import SEEN, require_usable, seen_of, write_seen
from llmrec.inference.tiny_names import find_tiny, tiny_folder
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

HASHES = ("aaaa1111bbbb2222", "aaaa9999cccc3333")


def origin_of(split_hash, dataset="simulate:tiny@1"):
    return Origin(dataset, "f" * 16, split_hash, "train", 1_700_000_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def two_models(home):
    """Two embedded models of one data set and one of another, under different splits."""
    origins = [*map(origin_of, HASHES), origin_of("dddd", "other")]
    for origin in origins:
        write_seen(save_tiny_llama(tiny_folder(origin)), [origin])
    return origins


def test_a_folder_opens_with_and_without_its_kind(folder):
    for name in (str(folder), folder, f"hf:{folder}"):
        model = open_language_model(name, device="cpu")
        assert isinstance(model, HFLanguageModel)
        assert isinstance(model, LanguageModel)


def test_adapters_get_the_names_they_are_given(folder, tmp_path):
    adapter = save_tiny_adapter(tmp_path / "lora", folder)
    model = open_language_model(f"hf:{folder}", adapters={"ann": adapter}, device="cpu")
    (answer,) = model.generate([GenerateRequest("A", adapter="ann")])
    assert answer.error is None
    fake = open_language_model("fake", adapters={"ann": adapter})
    assert isinstance(fake, FakeLanguageModel)
    (answer,) = fake.generate([GenerateRequest("A", adapter="bob")])
    assert "bob" in answer.error


def test_a_server_is_its_model_and_its_address(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model = open_language_model("openai:meta@v2@http://127.0.0.1:9/v1", concurrency=3)
    assert isinstance(model, OpenAICompatibleModel)
    assert model.fingerprint["model"] == "meta@v2"
    assert model.fingerprint["base_url"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("name", ["openai:small", "openai:@http://127.0.0.1/v1"])
def test_half_a_server_name_is_refused(name):
    with pytest.raises(ConfigError, match="openai:MODEL@URL"):
        open_language_model(name)


def test_a_server_takes_no_adapter_folders(folder):
    with pytest.raises(ConfigError, match="server loads its adapters itself"):
        open_language_model("openai:m@http://127.0.0.1/v1", adapters={"a": folder})


@pytest.mark.parametrize("name", ["gpt", "hff:x", "fake:1", "no/such/folder"])
def test_unknown_forms_are_told_the_known_ones(name):
    with pytest.raises(ConfigError) as caught:
        open_language_model(name)
    for form in FORMS.values():
        assert form in str(caught.value)


def test_a_near_miss_is_corrected():
    with pytest.raises(ConfigError, match="did you mean 'vllm'"):
        open_language_model("vlm:folder")


def test_a_key_in_place_of_a_name_is_not_repeated():
    key = "sk-" + "a1B2c3D4" * 4
    with pytest.raises(ConfigError, match="looks like an API key") as caught:
        open_language_model(key)
    assert key not in str(caught.value)


def test_an_option_of_no_backend_is_named():
    with pytest.raises(ConfigError, match="fake language models have no option 'speed'"):
        open_language_model("fake", speed=3)
    with pytest.raises(ConfigError, match="no option 'devce'; did you mean 'device'"):
        open_language_model("hf:anything", devce="cpu")


def test_a_kind_without_a_model_is_refused():
    with pytest.raises(ConfigError, match="names no model; write hf:FOLDER"):
        open_language_model("hf:")


def test_embedded_models_are_found_by_data_set_and_hash(two_models):
    first, _, other = two_models
    assert find_tiny("tiny:other").folder == tiny_folder(other)
    assert find_tiny("tiny:simulate:tiny@1@aaaa1").folder == tiny_folder(first)
    assert find_tiny(f"tiny:simulate:tiny@1@{HASHES[0]}").origin == first
    assert parse_name("vllm:tiny:other") == ("vllm", str(tiny_folder(other)))
    assert isinstance(open_language_model("tiny:other", device="cpu"), HFLanguageModel)


@pytest.mark.parametrize("name", ["tiny:simulate:tiny@1", "tiny:simulate:tiny@1@aaaa"])
def test_a_name_of_several_embedded_models_asks_for_more(two_models, name):
    with pytest.raises(ConfigError, match="several models") as caught:
        find_tiny(name)
    assert all(split_hash in str(caught.value) for split_hash in HASHES)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tiny:ml-1m", "llmrec lm train ml-1m'"),
        ("tiny:ml-1m@ab12", "llmrec lm train ml-1m'"),
        ("tiny:simulate:small@1", "llmrec lm train simulate:small@1'"),
    ],
)
def test_an_untrained_model_names_the_command(home, name, command):
    with pytest.raises(ConfigError) as caught:
        open_language_model(name)
    assert command in str(caught.value)
    assert not home.exists()


def test_what_was_seen_is_kept_with_the_files(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    adapter = save_tiny_adapter(tmp_path / "lora", base)
    assert seen_of(base) == ()
    write_seen(base, [origin_of("aa")], {"preset": "test"})
    write_seen(adapter, [origin_of("bb"), origin_of("aa")])
    assert seen_of(base) == (origin_of("aa"),)
    assert seen_by(base, {"x": adapter}) == (origin_of("aa"), origin_of("bb"))
    assert seen_by("fake") == seen_by("openai:m@http://127.0.0.1/v1") == ()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_record_does_not_vouch_for_other_files(tmp_path, name):
    base = save_tiny_llama(tmp_path / "base")
    write_seen(base, [origin_of("aa")])
    with (base / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=name):
        seen_of(base)


def test_a_changed_or_foreign_record_is_refused(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    write_seen(base, [origin_of("aa")])
    record = json.loads((base / SEEN).read_text())
    (base / SEEN).write_text(json.dumps({**record, "seen": []}))
    with pytest.raises(ArtifactError, match="was changed"):
        seen_of(base)
    (base / SEEN).write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(ArtifactError, match="not a record of format 1"):
        seen_of(base)


def test_a_model_may_be_used_up_to_what_it_has_seen():
    split = leave_one_out(load_dataset("simulate:tiny@1"))
    train = split.train_histories().origin
    require_usable("tiny:x", [train], split, "valid")
    require_usable("tiny:x", [], split, "test")
    later = replace(train, part="valid")
    require_usable("tiny:x", [later], split, "test")
    with pytest.raises(ProtocolError, match=r"language model tiny:x: .* it has seen the valid"):
        require_usable("tiny:x", [later], split, "valid")
    with pytest.raises(ProtocolError, match="another split"):
        require_usable("tiny:x", [replace(train, split_hash="0" * 16)], split, "test")
