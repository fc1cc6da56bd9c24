"""Every row of a mixed batch equals a plain peft LoRA that holds that user's weights."""

import copy

import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec.adapters.config import GatedLoraConfig, temperature_at
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.materialise import materialise
from llmrec.errors import ArtifactError, ConfigError

IDS = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 8], [4, 6, 1, 0]])
STATES = torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
COMPOSE = ["merge_factors", "sum_products", "rank_scale", "shared"]


def make_base():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return LlamaForCausalLM(config).eval()


def make(compose="merge_factors", scope="module", **options):
    torch.manual_seed(1)
    experts = 1 if compose in ("shared", "rank_scale") else 3
    dim = 0 if compose == "shared" else 5
    config = GatedLoraConfig(
        target_modules=("q_proj", "v_proj", "down_proj"),
        experts=experts,
        rank=2,
        alpha=6.0,
        compose=compose,
        gate_scope=scope,
        gate_dim=dim,
        b_noise=0.3,
        **options,
    )
    return GatedLora(make_base(), config, "base").eval()


def states_of(model):
    return None if model.gates is None else STATES


@pytest.mark.parametrize("compose", COMPOSE)
@pytest.mark.parametrize("scope", ["global", "layer", "module"])
def test_rows_of_a_mixed_batch_equal_peft(compose, scope, tmp_path):
    model = make(compose, scope)
    with torch.no_grad():
        mixed = model(input_ids=IDS, gate_input=states_of(model)).logits
        weights = model.gate_weights(STATES)
    for row in range(3):
        own = weights[min(row, len(weights) - 1)]
        folder = tmp_path / str(row)
        folder.mkdir()
        materialise(model.experts(), own).write(folder)
        plain = PeftModel.from_pretrained(make_base(), str(folder)).eval()
        with torch.no_grad():
            expected = plain(input_ids=IDS[row : row + 1]).logits
        torch.testing.assert_close(mixed[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def test_users_differ_and_so_do_they_from_the_base():
    model = make()
    with torch.no_grad():
        mixed = model(input_ids=IDS[:1].expand(3, -1), gate_input=STATES).logits
        plain = make_base()(input_ids=IDS[:1]).logits[0]
    assert not torch.allclose(mixed[0], mixed[1], atol=1e-4)
    assert not torch.allclose(mixed[0], plain, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_routes_are_equal(rows):
    model = make()
    weights = model.gate_weights(STATES[:rows])
    fused, merged, chosen = (
        model(input_ids=IDS, gate_weights=weights, route=route).logits
        for route in ("fused", "merged", "auto")
    )
    torch.testing.assert_close(fused, merged, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused, chosen, atol=1e-5, rtol=1e-5)


def gradients(model, checkpointing):
    model = copy.deepcopy(model).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    model(input_ids=IDS, labels=IDS, gate_input=STATES).loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_nothing():
    model = make(gate_dropout=0.0)
    plain, recomputed = gradients(model, False), gradients(model, True)
    assert plain.keys() == recomputed.keys()
    assert any("gates" in name for name in plain)
    assert any("lora_B" in name for name in plain)
    assert not any("embed" in name for name in plain)
    for name, value in plain.items():
        torch.testing.assert_close(recomputed[name], value)


def test_nothing_is_left_after_a_call():
    model = make()
    model(input_ids=IDS, gate_input=STATES)
    with pytest.raises(ConfigError, match="ran without gates"):
        model.model(input_ids=IDS)
    with model.using(None) as base, torch.no_grad():
        torch.testing.assert_close(base(input_ids=IDS).logits, make_base()(input_ids=IDS).logits)


@pytest.mark.parametrize("compose", ["merge_factors", "sum_products"])
def test_a_smaller_rank_is_the_best_there_is(compose):
    model = make(compose)
    weights = model.gate_weights(STATES)[0]
    exact = materialise(model.experts(), weights)
    small = materialise(model.experts(), weights, rank=1)
    worst = 0.0
    for name, a in exact.tensors.items():
        if "lora_A" not in name:
            continue
        b = exact.tensors[name.replace("lora_A", "lora_B")]
        small_a, small_b = small.tensors[name], small.tensors[name.replace("lora_A", "lora_B")]
        full, low = b.double() @ a.double(), small_b.double() @ small_a.double()
        values = torch.linalg.svdvals(full)
        least = float((values[1:].square().sum() / values.square().sum()).sqrt())
        assert float((full - low).norm() / full.norm()) == pytest.approx(least, abs=1e-5)
        worst = max(worst, least)
    assert small.error == pytest.approx(worst, abs=1e-5)
    assert exact.error == 0


def test_saved_experts_are_taken_over_and_others_refused(tmp_path):
    model, fresh = make(), make()
    for parameter in fresh.parameters():
        if parameter.requires_grad:
            parameter.data.zero_()
    model.save_pretrained(tmp_path / "experts")
    from llmrec.adapters.experts import Experts

    fresh.load_experts(Experts.load(tmp_path / "experts"))
    with torch.no_grad():
        left, right = (m(input_ids=IDS, gate_input=STATES).logits for m in (model, fresh))
    assert torch.equal(left, right)
    with pytest.raises(ArtifactError):
        make("sum_products").load_experts(Experts.load(tmp_path / "experts"))


def test_gates_mix_and_cool_down():
    model = make()
    hot, cold = (model.gate_weights(STATES, t) for t in (100.0, 0.01))
    torch.testing.assert_close(hot.sum(-1), torch.ones(3, model.n_gates))
    assert hot.max() < 0.4
    assert cold.max(-1).values.median() > 0.9
    assert temperature_at(model.config_lora, 0.0) > temperature_at(model.config_lora, 1.0)


def test_gates_that_read_items_have_no_adapter_of_a_user():
    model = make(gate_input="instance")
    with pytest.raises(ConfigError, match="a user has no one adapter"):
        materialise(model.experts(), model.gate_weights(STATES)[0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"compose": "shared", "experts": 2}, "compose=shared has one expert"),
        ({"gate_dim": 0}, "gate_dim must be the width"),
        ({"compose": "shared", "experts": 1, "gate_dim": 4}, "has no gate"),
    ],
)
def test_settings_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        GatedLoraConfig(**{"target_modules": ("q_proj",), "gate_dim": 4, **options})


def test_layers_that_are_not_there():
    config = GatedLoraConfig(target_modules=("query",), gate_dim=4)
    with pytest.raises(ConfigError, match="query"):
        GatedLora(make_base(), config)
