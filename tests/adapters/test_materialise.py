"""Exported adapters against peft's own ways to combine adapters, and truncation against an SVD."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_gated import COMPOSITIONS, base_model, gated, weights_of

from llmrec.adapters.materialise import materialise, truncate
from llmrec.adapters.verify import verify_export
from llmrec.errors import ArtifactError, ConfigError


def test_sum_products_equals_pefts_cat_and_merge_factors_its_linear():
    # linear sums factors times the root of weight x scaling, so a^2 / scaling gives a
    for compose, kind, power in (("sum_products", "cat", 1), ("merge_factors", "linear", 2)):
        model = gated(compose)
        config, own = model.config_lora, weights_of(model, 1)[0]
        lora = LoraConfig(r=3, lora_alpha=16, target_modules=["q_proj"], layers_to_transform=[0])
        plain = get_peft_model(base_model(), lora, adapter_name="e0")
        for k in range(1, 4):
            plain.add_adapter(f"e{k}", lora)
        site = model.sites[0]
        ours = model.model.get_submodule(site.path)
        theirs = plain.get_submodule(f"base_model.model.{site.path}")
        for k in range(4):
            rows = slice(3 * k, 3 * k + 3)
            theirs.lora_A[f"e{k}"].weight.data.copy_(ours.lora_A.data[rows])
            theirs.lora_B[f"e{k}"].weight.data.copy_(ours.lora_B.data[:, rows])
        shares = (own[site.gate] ** power).tolist()
        plain.add_weighted_adapter([f"e{k}" for k in range(4)], shares, "mixed", kind)
        expected = theirs.get_delta_weight("mixed").detach()
        made = materialise(model.experts(), own)
        a, b = (made.tensors[f"base_model.model.{site.path}.lora_{x}.weight"] for x in "AB")
        found = made.config["lora_alpha"] / made.rank * (b @ a)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert made.rank == config.adapter_rank


@pytest.mark.parametrize("compose", COMPOSITIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_verify_agrees_and_notices_another_user(compose, dtype, tmp_path):
    model = gated(compose)
    weights = weights_of(model, 3)
    materialise(model.experts(), weights[0], dtype=dtype).write(tmp_path)
    checked = verify_export(base_model(), model.experts(), weights[0], tmp_path, dtype)
    assert checked.equal, checked
    if compose != "shared" and dtype != "bfloat16":
        assert not verify_export(base_model(), model.experts(), weights[1], tmp_path, dtype).equal


def test_truncation_is_the_best_of_its_rank():
    rng = np.random.default_rng(0)
    a, b = torch.from_numpy(rng.normal(size=(6, 20))), torch.from_numpy(rng.normal(size=(15, 6)))
    left, values, right = torch.linalg.svd(b @ a, full_matrices=False)
    for rank in range(1, 7):
        down, up, error = truncate(a, b, rank)
        assert down.shape == (rank, 20)
        best = (left[:, :rank] * values[:rank]) @ right[:rank]
        torch.testing.assert_close(up @ down, best)
        lost = torch.linalg.norm(b @ a - best) / torch.linalg.norm(b @ a)
        assert error == pytest.approx(float(lost), abs=1e-12)
    assert truncate(a, torch.zeros_like(b), 2)[2] == 0


@pytest.mark.parametrize("rank", [15, 16, 17, 20, 31, 32])
def test_a_rank_above_the_width_of_a_layer(tmp_path, rank):
    """v_proj is 16 wide, so beyond that nothing is lost there; peft still reads one rank."""
    model = gated("sum_products", experts=8, rank=4)
    own = weights_of(model, 1)[0]
    made = materialise(model.experts(), own, rank=rank, dtype="float64")
    exact = materialise(model.experts(), own, dtype="float64")
    scale = made.config["lora_alpha"] / made.rank
    for site in model.sites:
        names = [f"base_model.model.{site.path}.lora_{x}.weight" for x in "AB"]
        (a, b), (c, d) = ([each.tensors[name] for name in names] for each in (made, exact))
        assert (a.shape[0], b.shape[1]) == (rank, rank)
        found, expected = scale * b @ a, exact.config["lora_alpha"] / exact.rank * d @ c
        if site.path.endswith("v_proj") and rank >= 16:
            torch.testing.assert_close(found, expected)
        assert torch.linalg.norm(found - expected) <= 0.2 * torch.linalg.norm(expected)
    made.write(tmp_path)
    assert PeftModel.from_pretrained(base_model(), str(tmp_path)).peft_config["default"].r == rank


def test_a_cut_rank_keeps_the_scale(tmp_path):
    model = gated("sum_products")
    own = weights_of(model, 1)[0]
    cut = materialise(model.experts(), own, rank=11)
    assert 0 < cut.error < 0.3
    assert cut.config["lora_alpha"] == pytest.approx(16 / 3 * 11)
    cut.write(tmp_path)
    checked = verify_export(base_model(), model.experts(), own, tmp_path)
    assert 1e-5 < checked.largest < 0.1
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 11


def test_what_cannot_be_materialised():
    experts = gated().experts()
    own = weights_of(gated(), 1)[0]
    with pytest.raises(ConfigError, match="gate_input=instance"):
        materialise(gated(gate_input="instance").experts(), own)
    with pytest.raises(ConfigError, match="rank 4 must lie between 1 and the exact 3"):
        materialise(experts, own, rank=4)
    with pytest.raises(ConfigError, match="unknown dtype 'float8'"):
        materialise(experts, own, dtype="float8")
    with pytest.raises(ArtifactError, match=r"shape \[4, 3\]"):
        materialise(experts, own[:, :3])
    with pytest.raises(ArtifactError, match="NaN"):
        materialise(experts, own * torch.nan)
    with pytest.raises(ArtifactError, match="were trained on the base model"):
        verify_export(base_model(seed=8), experts, own, "anywhere")
