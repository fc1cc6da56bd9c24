"""What is checked before vLLM's engine starts, with or without vLLM at hand."""

import importlib.util
import shutil
import subprocess
import sys

import pytest

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.requests import Decoding
from llmrec.inference.vllm_engine import VLLMLanguageModel
from llmrec.inference.vllm_identity import identity
from llmrec.inference.vllm_params import check_decoding
from llmrec.inference.vllm_start import Setting, find_model
from llmrec.testing.tiny_llama import EOS, VOCAB_SIZE, save_tiny_llama, token_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "base", seed=3, ends="~")


def test_what_is_known_of_a_model_without_its_weights(folder):
    model = find_model(str(folder))
    assert (model.vocab_size, model.head) == (VOCAB_SIZE, "lm_head")
    assert model.tokens.eos == {EOS, token_of("~")}
    assert model.shapes["model.layers.1.mlp.down_proj"] == (64, 96)


def test_identity_follows_the_weights(folder, tmp_path):
    other = save_tiny_llama(tmp_path / "base", seed=4, ends="~")
    same = tmp_path / "again" / "base"
    shutil.copytree(folder, same)
    first, second, third = (
        identity(find_model(str(path)), "float32") for path in (folder, other, same)
    )
    assert first == third
    assert first["weights"] != second["weights"]
    assert {**first, "weights": ""} == {**second, "weights": ""}
    assert first["model"] == "base"


@pytest.mark.parametrize("name", ["no-such/model", "./no/such/folder"])
def test_no_such_model(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=rf"'{name}' cannot be loaded .*no such folder"):
        VLLMLanguageModel(name)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_named(folder, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / file).unlink()
    looked_for = "*.safetensors" if file == "model.safetensors" else file
    with pytest.raises(ArtifactError) as caught:
        VLLMLanguageModel(copy)
    assert looked_for in str(caught.value)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"dtype": "float23"}, "did you mean 'float32'"),
        ({"context": 0}, "context is 0; expected at least 1"),
        ({"cache_gib": -1.0}, "cache_gib is -1.0"),
        ({"lora_slots": 0}, "lora_slots is 0"),
        ({"options": {"max_model_len": 9}}, "'max_model_len'; use the argument context"),
        ({"options": {"max_logprobs": 5}}, "'max_logprobs', which decides about results"),
    ],
)
def test_arguments_out_of_range(given, sentence):
    usual = {"dtype": None, "context": None, "cache_gib": None, "lora_slots": 8, "options": {}}
    with pytest.raises(ConfigError, match=sentence):
        Setting(**(usual | given))


@pytest.mark.parametrize("temperature", [0.009, 2.01])
def test_temperatures_that_vllm_changes_or_refuses(temperature):
    with pytest.raises(ConfigError, match=f"temperature is {temperature}; vLLM takes 0 or"):
        check_decoding(Decoding(temperature=temperature, seed=0))


def test_without_vllm_the_sentence_says_how_to_get_it(folder, tmp_path):
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text("raise ImportError('not here')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from llmrec.errors import ConfigError\n"
        "from llmrec.inference.vllm_engine import VLLMLanguageModel\n"
        f"try: VLLMLanguageModel({str(folder)!r})\n"
        "except ConfigError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "vLLM is not installed" in said.stdout, said.stderr
    assert "make install-vllm" in said.stdout


def test_the_modules_load_without_vllm():
    assert importlib.util.find_spec("llmrec.inference.vllm_engine") is not None
    program = (
        "import sys, llmrec.inference.vllm_engine, llmrec.inference.openai_client\n"
        "print('vllm' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout.strip() == "False", said.stderr
