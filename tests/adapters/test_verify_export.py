"""An exported adapter against the model in memory, and that a wrong one is noticed."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_gated import COMPOSITIONS, VOCAB, base_model, gated, settings, tokens, weights_of
from transformers import OPTConfig, OPTForCausalLM

from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.materialise import materialise
from llmrec.adapters.verify import TOLERANCE, verify_export
from llmrec.errors import ArtifactError, ConfigError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def exported(folder, compose="merge_factors", dtype="float32", rank=None):
    model = gated(compose)
    weights = weights_of(model, rows=1)[0]
    folder.mkdir(exist_ok=True)
    materialise(model.experts(), weights, rank, dtype).write(folder)
    return model.experts(), weights, folder


@pytest.mark.parametrize("compose", COMPOSITIONS)
@pytest.mark.parametrize(("dtype", "least"), [("float64", 1e-9), ("float32", 1e-4)])
def test_the_bars_of_each_precision(tmp_path, compose, dtype, least):
    experts, weights, folder = exported(tmp_path / "a", compose, dtype)
    base = base_model()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    found = verify_export(base, experts, weights, folder, dtype)
    assert found.equal
    assert found.largest <= least == found.tolerance
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


@pytest.mark.parametrize("compose", COMPOSITIONS)
def test_in_a_model_that_keeps_every_digit(tmp_path, compose):
    """A Llama rounds to float32 inside; an OPT does not, so that 1e-9 says something."""
    torch.manual_seed(0)
    base = OPTForCausalLM(
        OPTConfig(vocab_size=VOCAB, hidden_size=16, word_embed_proj_dim=16, ffn_dim=16,
                  num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=32)
    ).eval()  # fmt: skip
    model = GatedLora(copy.deepcopy(base), settings(compose)).eval()
    weights = weights_of(model, rows=1)[0]
    for dtype, bar in (("float64", 1e-9), ("float32", 1e-4)):
        folder = tmp_path / dtype
        folder.mkdir()
        materialise(model.experts(), weights, None, dtype).write(folder)
        found = verify_export(base, model.experts(), weights, folder, dtype, tokens())
        assert found.largest <= bar
        if compose in ("merge_factors", "sum_products"):
            assert found.largest > 0  # summed in another order


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_close(tmp_path, dtype):
    experts, weights, folder = exported(tmp_path / "a", dtype=dtype)
    assert verify_export(base_model(), experts, weights, folder, dtype, tokens()).equal


def double_the_scale(folder):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "lora_alpha": 2 * config["lora_alpha"]}))


def drop_a_layer(folder):
    tensors = load_file(folder / WEIGHTS)
    tensors = {k: torch.zeros_like(v) if "layers.1.self_attn.v" in k else v
               for k, v in tensors.items()}  # fmt: skip
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize("damage", [double_the_scale, drop_a_layer])
def test_an_adapter_that_says_something_else_is_noticed(tmp_path, damage):
    experts, weights, folder = exported(tmp_path / "a")
    damage(folder)
    found = verify_export(base_model(), experts, weights, folder)
    assert not found.equal
    assert found.largest > 100 * TOLERANCE["float32"]


def test_another_user_and_a_smaller_rank_are_noticed(tmp_path):
    experts, weights, folder = exported(tmp_path / "a")
    other = weights_of(gated(), rows=1, seed=9)[0]
    assert not verify_export(base_model(), experts, other, folder).equal
    experts, weights, folder = exported(tmp_path / "b", rank=1)
    assert not verify_export(base_model(), experts, weights, folder).equal


def test_refusals(tmp_path):
    experts, weights, folder = exported(tmp_path / "a")
    with pytest.raises(ConfigError, match="did you mean 'float32'"):
        verify_export(base_model(), experts, weights, folder, "float31")
    with pytest.raises(ArtifactError, match="trained on the base model 'tests/small'"):
        verify_export(base_model(seed=8), experts, weights, folder)
