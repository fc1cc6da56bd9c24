"""A base model is the same in files and in memory, in any precision, whatever lies beside it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_gated import base_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from llmrec.adapters.experts import BaseModelId
from llmrec.errors import ArtifactError

WHOLE = "model.safetensors"
OWN = BaseModelId.of(base_model()).fingerprint


def loaded(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def both(folder, dtype=torch.float32):
    """Of the files, and of the model as it is loaded from them."""
    of_model = BaseModelId.of(loaded(folder, dtype), str(folder))
    return BaseModelId.of_folder(folder).fingerprint, of_model.fingerprint


def test_the_fingerprint_of_given_weights_stays_what_it_is():
    """Experts, stores and runs hold it: if it changes, all of them are refused."""
    model = base_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.arange(weight.numel()).view_as(weight) / 8)
    assert BaseModelId.of(model).fingerprint == "1d7be5a7bf41d0f4"


@pytest.mark.parametrize(
    "changed",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 77.0}},
        {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
        {"rms_norm_eps": 0.1},
        {"hidden_act": "gelu"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_same_weights_that_compute_otherwise_are_another_model(tmp_path, changed):
    base_model().save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    assert all(about[name] != value for name, value in changed.items())
    (tmp_path / "config.json").write_text(json.dumps(about | changed))
    of_files, of_model = both(tmp_path)
    assert of_files == of_model != OWN


def test_what_changes_no_answer_of_a_model_does_not_count(tmp_path):
    base_model().save_pretrained(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    about |= {"use_cache": False, "max_position_embeddings": 99, "transformers_version": "1"}
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert both(tmp_path) == (OWN, OWN)


def test_tensors_that_are_no_parameters_do_not_count(tmp_path):
    base_model().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WHOLE)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(tensors, tmp_path / WHOLE, metadata={"format": "pt"})
    assert both(tmp_path) == (OWN, OWN)


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_files_that_loading_does_not_take_do_not_count(tmp_path, shard):
    base_model().save_pretrained(tmp_path, max_shard_size=shard)
    other = {f"tok.{name}": tensor for name, tensor in base_model(5).state_dict().items()}
    save_file(other, tmp_path / "consolidated.safetensors")
    assert both(tmp_path) == (OWN, OWN)


def test_tied_weights_count_once_though_both_are_saved(tmp_path):
    config = base_model().config
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WHOLE)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / WHOLE, metadata={"format": "pt"})
    assert both(tmp_path) == (BaseModelId.of(model).fingerprint,) * 2


def test_an_inner_model_that_was_saved_is_the_whole_one(tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=61, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WHOLE)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    assert bare.keys() != tensors.keys()
    save_file(bare, tmp_path / WHOLE, metadata={"format": "pt"})
    assert both(tmp_path) == (BaseModelId.of(model).fingerprint,) * 2


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_precision_it_is_loaded_in_makes_no_difference(tmp_path, stored, dtype):
    model = base_model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e6  # bfloat16 can say this, and float16 cannot
        model.lm_head.weight[1] *= 1e-7
    if stored == "float16":
        model.lm_head.weight.data[0, 0] = 1.0
    model.to(getattr(torch, stored)).save_pretrained(tmp_path)
    of_folder, of_model = both(tmp_path, getattr(torch, dtype))
    assert of_model == of_folder


def test_a_model_that_was_changed_after_loading_in_float16_is_another(tmp_path):
    base_model().save_pretrained(tmp_path)
    model = loaded(tmp_path, torch.float16)
    with torch.no_grad():
        model.lm_head.weight += 0.01
    changed = BaseModelId.of(model, str(tmp_path))
    assert changed.fingerprint != OWN
    with pytest.raises(ArtifactError, match="were trained on the base model"):
        BaseModelId.of_folder(tmp_path).require(changed)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    base_model().save_pretrained(tmp_path, max_shard_size="20KB")
    part = sorted(tmp_path.glob("model-*.safetensors"))[0]
    kept = shutil.copy(part, tmp_path / "kept")
    part.unlink()
    with pytest.raises(ArtifactError, match=f"{part.name} is missing, though"):
        BaseModelId.of_folder(tmp_path)
    shutil.move(kept, part)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("[]")
    with pytest.raises(ArtifactError, match="has no weight_map"):
        BaseModelId.of_folder(tmp_path)
    tensors = load_file(part)
    save_file({name: tensors[name] for name in list(tensors)[:1]}, part)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, part.name)}))
    with pytest.raises(ArtifactError, match="lacks the weight"):
        BaseModelId.of_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ArtifactError, match="holds no causal language model"):
        BaseModelId.of_folder(tmp_path)
