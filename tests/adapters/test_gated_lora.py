"""Gated LoRA against peft, dense algebra, and itself in other batches."""

import math
import threading

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_gated import COMPOSITIONS, base_model, gated, settings, tokens, weights_of
from torch import nn

from llmrec.adapters.compose import takes_merged
from llmrec.adapters.config import GatedLoraConfig, temperature_at
from llmrec.adapters.experts import Experts
from llmrec.adapters.gated_lora import GatedLora, expert_similarity
from llmrec.adapters.gates import balance_loss, gate_diagnostics
from llmrec.adapters.materialise import materialise
from llmrec.errors import ArtifactError, ConfigError

EXACT = {"rtol": 1e-5, "atol": 1e-5}


def logits(model, ids, weights, **options):
    with torch.no_grad():
        return model(input_ids=ids, gate_weights=weights, **options).logits


@pytest.mark.parametrize("compose", COMPOSITIONS)
def test_each_row_equals_peft_with_that_users_weights(compose, tmp_path):
    model, ids = gated(compose), tokens()
    weights = weights_of(model)
    found = logits(model, ids, weights)
    plain_base = logits(model, ids, weights[:0].new_ones(1, *weights.shape[1:]) * 0)
    for row in range(len(weights)):
        folder = tmp_path / f"user{row}"
        folder.mkdir()
        materialise(model.experts(), weights[row]).write(folder)
        plain = PeftModel.from_pretrained(base_model(), str(folder)).eval()
        rows = slice(None) if compose == "shared" else slice(row, row + 1)
        with torch.no_grad():
            expected = plain(input_ids=ids[rows]).logits
        torch.testing.assert_close(found[rows], expected, **EXACT)
        if compose != "shared":
            assert (expected - plain_base[rows]).abs().max() > 0.01


def test_update_equals_dense_algebra():
    for compose in COMPOSITIONS:
        model = gated(compose)
        site, config = model.sites[1], model.config_lora
        layer = model.model.get_submodule(site.path)
        weights = weights_of(model, rows=1)
        a = layer.lora_A.detach().view(config.blocks, config.block_rank, -1)
        b = layer.lora_B.detach().view(-1, config.blocks, config.block_rank)
        own = weights[0, site.gate]
        if compose == "merge_factors":
            dense = sum(own[i] * own[j] * b[:, i] @ a[j]
                        for i in range(config.blocks) for j in range(config.blocks))  # fmt: skip
        else:
            dense = sum(own[k] * b[:, k] @ a[k] for k in range(config.blocks))
        x = torch.randn(1, 5, 32)
        with model.using(weights), torch.no_grad():
            found = layer(x) - layer.base_layer(x)
        torch.testing.assert_close(found, config.alpha / config.rank * (x @ dense.T), **EXACT)


@pytest.mark.parametrize("rows", [1, 3])
def test_routes_are_equal_with_gradients(rows):
    found = {}
    for route in ("fused", "merged", "auto"):
        model = gated().train()
        torch.manual_seed(9)
        state = torch.randn(rows, 6)
        loss = model(input_ids=tokens(), gate_input=state, route=route).logits.square().mean()
        loss.backward()
        found[route] = [loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)]
    # dropout inside the gates draws the same numbers in each
    for route in ("merged", "auto"):
        torch.testing.assert_close(found[route], found["fused"], rtol=1e-4, atol=1e-6)


def test_the_cheaper_route_by_hand():
    # K=8: fused 8 x 64 x 128, merged 8 x 64 + 2 x 64 x 128
    assert takes_merged("merge_factors", "auto", 8, 64, 128, 64)
    assert not takes_merged("merge_factors", "auto", 8, 64, 1, 64)
    assert not takes_merged("merge_factors", "auto", 2, 64, 128, 64)
    assert takes_merged("merge_factors", "auto", 8, 64, 1, 1)
    assert not takes_merged("sum_products", "merged", 8, 64, 128, 64)


def test_users_in_a_batch_get_what_they_get_alone():
    model, ids = gated(), tokens()
    weights = weights_of(model)
    together = logits(model, ids, weights)
    for row in range(3):
        alone = logits(model, ids[row : row + 1], weights[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, **EXACT)
    assert not torch.allclose(together[:1], logits(model, ids[:1], weights[1:2]), atol=1e-3)


def test_left_padding_changes_nothing():
    model, ids = gated(), tokens(2, 6)
    weights = weights_of(model, 2)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(2, 3), torch.ones(2, 6)], 1).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    given = {"attention_mask": mask, "position_ids": positions}
    found = logits(model, padded, weights, **given)[:, 3:]
    torch.testing.assert_close(found, logits(model, ids, weights), **EXACT)


def gradients(model, batches):
    """Both forward passes before either backward pass."""
    losses = [
        model(input_ids=ids, gate_input=state, use_cache=False).logits.square().mean()
        for ids, state in batches
    ]
    for loss in losses:
        loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


def test_gradient_checkpointing_and_interleaved_batches():
    torch.manual_seed(4)
    batches = [(tokens(seed=s), torch.randn(3, 6)) for s in (5, 6)]
    plain = gated(gate_dropout=0.0).train()
    expected = gradients(plain, batches)
    checkpointed = gated(gate_dropout=0.0).train()
    checkpointed.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(checkpointed, batches), expected, rtol=1e-5, atol=1e-7)
    swapped = gated(gate_dropout=0.0).train()
    wrong = gradients(swapped, [(batches[0][0], batches[1][1]), (batches[1][0], batches[0][1])])
    assert not torch.allclose(wrong[0], expected[0])
    with pytest.raises(ConfigError, match="use_reentrant=False"):
        plain.gradient_checkpointing_enable({"use_reentrant": True})


def test_checkpointing_switched_on_behind_its_back_is_an_error():
    model = gated().train()
    model.model.gradient_checkpointing_enable()
    loss = model(input_ids=tokens(), gate_input=torch.randn(3, 6), use_cache=False).logits.sum()
    with pytest.raises(ConfigError, match="ran without gates"):
        loss.backward()


def test_threads_do_not_see_each_other():
    model, ids = gated(), tokens()
    sets = [weights_of(model, seed=seed) for seed in range(4)]
    expected = [logits(model, ids, weights) for weights in sets]
    found = [[] for _ in sets]
    barrier = threading.Barrier(len(sets))

    def work(number):
        barrier.wait()
        for _ in range(5):
            found[number].append(logits(model, ids, sets[number]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for want, got in zip(expected, found, strict=True):
        for each in got:
            torch.testing.assert_close(each, want, **EXACT)


def test_one_expert_is_plain_lora_and_zero_b_is_the_base():
    model = gated(experts=1)
    ids = tokens()
    ones = torch.ones(1, model.n_gates, 1)
    plain = get_peft_model(
        base_model(), LoraConfig(r=3, lora_alpha=16, target_modules=["q_proj", "v_proj"])
    ).eval()
    for site in model.sites:
        layer = model.model.get_submodule(site.path)
        theirs = plain.get_submodule(f"base_model.model.{site.path}")
        theirs.lora_A["default"].weight.data.copy_(layer.lora_A.data)
        theirs.lora_B["default"].weight.data.copy_(layer.lora_B.data)
    with torch.no_grad():
        torch.testing.assert_close(logits(model, ids, ones), plain(input_ids=ids).logits, **EXACT)
        fresh = gated(b_noise=0.0)
        state = fresh(input_ids=ids, gate_input=torch.randn(3, 6)).logits
        assert torch.equal(state, base_model()(input_ids=ids).logits)
        with model.using(None) as base:
            assert torch.equal(base(input_ids=ids).logits, base_model()(input_ids=ids).logits)


def test_initial_weights():
    model = gated(b_noise=0.0)
    for site in model.sites:
        layer = model.model.get_submodule(site.path)
        bound = 1 / math.sqrt(site.in_features)
        assert layer.lora_A.abs().max() <= bound
        assert layer.lora_A.abs().max() > 0.9 * bound
        assert not layer.lora_B.any()
    assert not any(p.requires_grad for n, p in model.named_parameters() if "base_layer" in n)
    assert not list(model.gates.buffers())


def test_gates_equal_a_sequential_network():
    model = gated()
    bank, states = model.gates, torch.randn(4, 6)
    with torch.no_grad():
        bank.norm_weight.uniform_(0.5, 1.5)
        bank.norm_bias.uniform_(-1, 1)
        found = model.gate_weights(states, temperature=2.0)
        for gate in range(model.n_gates):
            norm, inner, outer = nn.LayerNorm(6), nn.Linear(6, 60), nn.Linear(60, 4)
            norm.weight.data, norm.bias.data = bank.norm_weight[gate], bank.norm_bias[gate]
            inner.weight.data, inner.bias.data = bank.inner_weight[gate], bank.inner_bias[gate]
            outer.weight.data, outer.bias.data = bank.outer_weight[gate], bank.outer_bias[gate]
            network = nn.Sequential(norm, inner, nn.ReLU(), outer)
            expected = (network(states) / 2).softmax(-1)
            torch.testing.assert_close(found[:, gate], expected)


@pytest.mark.parametrize(("scope", "gates"), [("module", 4), ("layer", 2), ("global", 1)])
def test_scopes(scope, gates):
    model = gated(gate_scope=scope)
    assert model.n_gates == gates
    by_layer = [site.gate for site in model.sites]
    expected = {"module": [0, 1, 2, 3], "layer": [0, 0, 1, 1], "global": [0, 0, 0, 0]}
    assert by_layer == expected[scope]
    assert model(input_ids=tokens(), gate_input=torch.randn(3, 6)).logits.shape[0] == 3


def test_root_of_the_softmax_keeps_the_size_of_an_even_mixture():
    model = gated(gate_activation="sqrt_softmax")
    weights = model.gate_weights(torch.randn(5, 6))
    torch.testing.assert_close(weights.square().sum(-1), torch.ones(5, 4))


def test_balance_and_diagnostics():
    even = torch.full((4, 2, 4), 0.25)
    one = torch.eye(4)[[0, 0, 0, 0]].unsqueeze(1)
    spread = torch.eye(4).unsqueeze(1)
    assert balance_loss(even) == pytest.approx(0, abs=1e-6)
    assert balance_loss(spread) == pytest.approx(0, abs=1e-6)
    assert balance_loss(one) == pytest.approx(3)
    assert gate_diagnostics(even)["entropy"] == pytest.approx(1)
    assert gate_diagnostics(one)["variance_across_users"] == 0
    assert gate_diagnostics(spread)["variance_across_users"] == pytest.approx(3 / 16)
    assert gate_diagnostics(one)["largest_load"] == 1
    assert gated(balance=0.5).balance(one) == pytest.approx(1.5)


def test_diagnostics_of_roots_are_those_of_their_squares():
    shares = torch.tensor([[[0.7, 0.1, 0.1, 0.1]], [[0.4, 0.3, 0.2, 0.1]]])
    plain, roots = gate_diagnostics(shares), gate_diagnostics(shares.sqrt(), "sqrt_softmax")
    for name in ("entropy", "largest_load"):
        assert roots[name] == pytest.approx(plain[name])


def test_balance_of_roots_is_that_of_their_squares():
    model = gated(balance=0.5, gate_activation="sqrt_softmax")
    even = torch.full((3, 2, 4), 0.5)
    one = torch.eye(4)[[0, 0, 0, 0]].unsqueeze(1)
    spread = torch.eye(4).unsqueeze(1)
    squares = torch.tensor([[[0.7, 0.1, 0.1, 0.1]], [[0.3, 0.3, 0.3, 0.1]]])  # mean .5 .2 .2 .1
    assert model.balance(even) == pytest.approx(0, abs=1e-6)
    assert model.balance(spread) == pytest.approx(0, abs=1e-6)
    assert model.balance(one) == pytest.approx(1.5)
    assert model.balance(squares.sqrt()) == pytest.approx(0.5 * (4 * 0.34 - 1))


@pytest.mark.parametrize("compose", ["rank_scale", "shared"])
def test_there_is_no_balance_without_a_mixture_of_experts(compose):
    with pytest.raises(ValueError, match=f"compose={compose} has no weights of experts"):
        settings(compose, balance=0.1)


def test_similarity_of_experts():
    model = gated()
    assert abs(expert_similarity(model.experts())) < 0.3
    with torch.no_grad():
        for site in model.sites:
            layer = model.model.get_submodule(site.path)
            layer.lora_A.copy_(layer.lora_A[:3].repeat(4, 1))
            layer.lora_B.copy_(layer.lora_B[:, :3].repeat(1, 4))
    assert expert_similarity(model.experts()) == pytest.approx(1)


def test_temperature_falls_and_stays():
    config = settings(start_temperature=5, temperature=1, anneal_share=0.5)
    found = [temperature_at(config, share) for share in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx([5, 3, 1, 1])
    assert temperature_at(settings(anneal_share=0), 0) == 1


def test_generation_and_low_precision():
    model = gated()
    with model.using(weights_of(model)) as base:
        texts = base.generate(tokens(), max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert texts.shape == (3, 10)
    half = GatedLora(base_model().to(torch.bfloat16), settings()).eval()
    assert half(input_ids=tokens(), gate_weights=weights_of(half)).logits.dtype == torch.bfloat16
    assert {p.dtype for p in half.parameters() if p.requires_grad} == {torch.float32}


def test_save_and_load(tmp_path):
    model, ids = gated(), tokens()
    model.save_pretrained(tmp_path / "lora")
    again = GatedLora.from_pretrained(tmp_path / "lora", base_model(), "elsewhere/small")
    state = torch.randn(3, 6)
    with torch.no_grad():
        left = model(input_ids=ids, gate_input=state).logits
        assert torch.equal(left, again(input_ids=ids, gate_input=state).logits)
    assert again.experts().tensors.keys() == model.experts().tensors.keys()
    assert sorted(p.name for p in (tmp_path / "lora").iterdir()) == [
        "gated_lora.json",
        "gated_lora.safetensors",
    ]
    with pytest.raises(ArtifactError, match="trained on the base model 'tests/small'"):
        GatedLora.from_pretrained(tmp_path / "lora", base_model(seed=4))
    rounded = base_model().to(torch.bfloat16)
    GatedLora.from_pretrained(tmp_path / "lora", rounded)  # the same weights in less precision


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"compose": "sum_products"}, "compose=merge_factors"),
        ({"gate_scope": "layer"}, "gate_scope=module"),
        ({"alpha": 8.0}, "alpha=16"),
        ({"temperature": 2.0}, "temperature=1.0"),
    ],
)
def test_experts_of_another_kind_are_refused_by_name(changes, named):
    with pytest.raises(ArtifactError, match=f"were trained with {named}"):
        gated(**changes).load_experts(gated().experts())


def test_damaged_files_are_refused(tmp_path):
    gated().save_pretrained(tmp_path / "lora")
    file = tmp_path / "lora" / "gated_lora.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="does not match its hash"):
        Experts.load(tmp_path / "lora")
    with pytest.raises(ArtifactError, match=r"gated_lora\.json is missing"):
        Experts.load(tmp_path)


def test_what_does_not_fit_is_named():
    model, ids = gated(), tokens()
    with pytest.raises(ConfigError, match="gates for 2 rows but the batch has 3"):
        logits(model, ids, weights_of(model, 2))
    with pytest.raises(ConfigError, match="give either gate_input or gate_weights"):
        model(input_ids=ids)
    with pytest.raises(ConfigError, match=r"shape \[3, 5\], but these gates read 6"):
        model(input_ids=ids, gate_input=torch.randn(3, 5))
    with pytest.raises(ConfigError, match="NaN"):
        model(input_ids=ids, gate_input=torch.full((3, 6), torch.nan))
    with pytest.raises(ConfigError, match=r"4 gates over 4 experts"):
        logits(model, ids, torch.ones(3, 4, 5))
    with pytest.raises(ConfigError, match="ran without gates"):
        model.model(input_ids=ids)
    with pytest.raises(ConfigError, match="is gated already"):
        GatedLora(model.model, settings())
    with pytest.raises(ConfigError, match=r"no layer .* is called 'q_porj'; did you mean 'q_proj'"):
        GatedLora(base_model(), settings(target_modules=("q_porj",)))
    with pytest.raises(ConfigError, match="not a linear layer"):
        GatedLora(base_model(), settings(target_modules=("self_attn",)))
    flat = model.model.get_submodule(model.sites[0].path)
    with model.using(weights_of(model)), pytest.raises(ConfigError, match="mixes the rows"):
        flat(torch.randn(3, 32))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"compose": "shared", "experts": 8, "gate_dim": 0}, r"set experts=1 .*\(64 has as many"),
        ({"compose": "shared", "experts": 1, "gate_dim": 3}, "has no gate"),
        ({"compose": "merge_factors"}, "gate_dim must be the width"),
    ],
)
def test_settings_that_contradict_each_other(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        GatedLoraConfig(target_modules=("q_proj",), **options)
