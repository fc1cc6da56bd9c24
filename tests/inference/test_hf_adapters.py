"""LoRA adapters in memory, against peft itself and against merged weights."""

import json
import shutil

import numpy as np
import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

TEXTS = (" was good", "!", "x")
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "base", seed=5)


@pytest.fixture(scope="module")
def folders(base):
    made = {
        "small": {"rank": 2, "targets": ("q_proj",)},
        "large": {"rank": 8, "targets": ALL},
        "head": {"rank": 3, "targets": ("lm_head", "up_proj")},
    }
    return {
        name: save_tiny_adapter(base.parent / name, base, seed=seed, **options)
        for seed, (name, options) in enumerate(made.items())
    }


@pytest.fixture
def model(base, folders):
    return HFLanguageModel(base, device="cpu", adapters=folders)


def scores(model, *names):
    found = model.score([ScoreRequest("The film", TEXTS, adapter=name) for name in names])
    assert [score.error for score in found] == [None] * len(names)
    return np.array([[text.logprob for text in score.texts] for score in found])


def test_each_adapter_is_what_peft_merges(model, base, folders, tmp_path):
    for name, folder in folders.items():
        network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        merged = tmp_path / name
        shutil.copytree(base, merged)
        network.merge_and_unload().save_pretrained(merged)
        expected = scores(HFLanguageModel(merged, device="cpu"), None)
        np.testing.assert_allclose(scores(model, name), expected, atol=2e-3)


def test_rows_with_different_adapters_share_a_batch(model, monkeypatch):
    names = ["large", None, "small", "head", "large", None]
    alone = np.concatenate([scores(model, name) for name in names])
    seen = []
    plain = model._adapters.use
    monkeypatch.setattr(model._adapters, "use", lambda rows: (seen.append(list(rows)), plain(rows)))
    np.testing.assert_allclose(scores(model, *names), alone, atol=1e-3)
    assert sorted(map(str, seen[0])) == sorted(map(str, names))


def test_answers_with_different_adapters_share_a_batch(model):
    requests = [
        GenerateRequest("The film", Decoding(max_tokens=4 + n), adapter=name)
        for n, name in enumerate(["head", "large", None, "small", "large"])
    ]
    for request, found in zip(requests, model.generate(requests), strict=True):
        alone = model.generate([request])[0]
        assert found.text == alone.text
        assert found.logprob == pytest.approx(alone.logprob, abs=1e-3)


def test_the_base_model_is_untouched(model, base):
    before = scores(HFLanguageModel(base, device="cpu"), None)
    scores(model, "large")
    np.testing.assert_allclose(scores(model, None), before, atol=1e-5)


def test_adapters_can_come_later(base, folders):
    model = HFLanguageModel(base, device="cpu")
    plain = scores(model, None)
    model.add_adapter("small", folders["small"])
    small = scores(model, "small")
    model.add_adapter("large", folders["large"])
    assert model.adapters == ["small", "large"]
    np.testing.assert_allclose(scores(model, None, "small"), [plain[0], small[0]], atol=1e-4)
    assert np.abs(scores(model, "large") - plain).max() > 0.01


def test_dora_runs_by_itself(model, base, tmp_path):
    network = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], use_dora=True)
    adapted = get_peft_model(network, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.3)
    adapted.save_pretrained(tmp_path / "dora")
    model.add_adapter("dora", tmp_path / "dora")
    merged = tmp_path / "merged"
    shutil.copytree(base, merged)
    adapted.merge_and_unload().save_pretrained(merged)
    expected = scores(HFLanguageModel(merged, device="cpu"), None)[0]
    plain, large = scores(model, None)[0], scores(model, "large")[0]
    found = scores(model, "large", "dora", None)
    np.testing.assert_allclose(found, [large, expected, plain], atol=2e-3)


def test_record_names_the_adapter(model):
    request = ScoreRequest("A", ("b",), logprobs=1, adapter="small")
    about = model.score([request])[0].texts[0].signature.fingerprint
    assert about["adapter"] == "small"
    assert len(about["adapter_hash"]) == 16


# ---- what a user can get wrong ----


def test_a_name_is_given_once(model, folders):
    with pytest.raises(ConfigError, match="'small' already"):
        model.add_adapter("small", folders["large"])


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_files_are_named(model, folders, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(folders["small"], copy)
    (copy / file).unlink()
    with pytest.raises(ArtifactError, match=f"did not find {file}"):
        model.add_adapter("other", copy)
    assert "other" not in model.adapters


def test_adapter_of_another_base_by_name(model, base, tmp_path):
    other = save_tiny_llama(tmp_path / "other-base", seed=9)
    folder = save_tiny_adapter(tmp_path / "adapter", other)
    with pytest.raises(ArtifactError, match=r"made for .*other-base.* this model is .*base"):
        model.add_adapter("other", folder)
    model.add_adapter("other", folder, any_base=True)
    assert "other" in model.adapters


@pytest.mark.parametrize("change", ["width", "layer"])
def test_adapter_that_does_not_fit(model, folders, tmp_path, change):
    copy = tmp_path / "copy"
    shutil.copytree(folders["small"], copy)
    weights = load_file(copy / "adapter_model.safetensors")
    key = next(key for key in weights if "lora_A" in key)
    taken = weights.pop(key)
    if change == "width":
        weights[key] = taken[:, :9].contiguous()
    else:
        weights[key.replace("layers.0", "layers.7")] = taken
    save_file(weights, copy / "adapter_model.safetensors")
    before = scores(model, "small", None)
    with pytest.raises(ArtifactError, match="does not fit"):
        model.add_adapter("other", copy)
    np.testing.assert_array_equal(scores(model, "small", None), before)


def test_adapter_that_would_change_the_base_model(model, folders, tmp_path):
    """peft writes the last layer's own weights beside its LoRA matrices, and loads them again."""
    copy = tmp_path / "copy"
    shutil.copytree(folders["head"], copy)
    weights = load_file(copy / "adapter_model.safetensors")
    key = "base_model.model.lm_head.base_layer.weight"
    weights[key] = weights[key] + 1
    save_file(weights, copy / "adapter_model.safetensors")
    before = scores(model, None)
    with pytest.raises(ArtifactError, match=rf"brings {key}"):
        model.add_adapter("other", copy)
    np.testing.assert_array_equal(scores(model, None), before)


@pytest.mark.parametrize(("key", "value"), [("peft_type", "IA3"), ("bias", "all")])
def test_other_kinds_of_adapters(model, folders, tmp_path, key, value):
    copy = tmp_path / "copy"
    shutil.copytree(folders["small"], copy)
    config = json.loads((copy / "adapter_config.json").read_text()) | {key: value}
    (copy / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=value):
        model.add_adapter("other", copy)


def test_damaged_adapter(model, folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folders["small"], copy)
    (copy / "adapter_model.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ArtifactError, match="damaged"):
        model.add_adapter("other", copy)
