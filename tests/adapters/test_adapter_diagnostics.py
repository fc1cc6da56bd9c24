"""What a report shows about a store, and the signs of a collapse."""

import json

import numpy as np
import pytest
import torch
from small_gated import gated
from small_store import draw, experts, store

from llmrec.adapters.diagnostics import diagnose


def test_plain_values(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    nothing = diagnose(opened)
    assert (nothing["gate_entropy"], nothing["hit_rate"], nothing["bytes_per_user"]) == (None,) * 3
    gates = draw(50)
    opened.put(list(range(50)), gates)
    for user in (1, 2, 1, 999):
        opened.adapter(user)
    found = diagnose(opened)
    entropy = -(gates * np.log(np.maximum(gates, 1e-12))).sum(-1).mean() / np.log(4)
    assert found["gate_entropy"] == pytest.approx(entropy, rel=1e-4)
    assert found["gate_variance"] == pytest.approx(gates.var(0).mean(), rel=1e-4)
    assert found["largest_load"] == pytest.approx(gates.mean((0, 1)).max(), rel=1e-4)
    assert (found["hit_rate"], found["fallback_rate"]) == (1 / 4, 1 / 4)
    assert found["bytes_per_user"] * 50 == pytest.approx(found["database_bytes"])
    assert abs(found["expert_cosine"]) < 0.5
    assert found["warnings"] == []
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_sample_is_spread_over_all(tmp_path):
    opened = store(tmp_path, gate_dtype="float32")
    opened.put(list(range(100)), draw(100))
    np.testing.assert_array_equal(opened.gates.sample(30), draw(100)[::4])


def test_collapsed_gates_and_experts_are_told(tmp_path):
    model = gated()
    with torch.no_grad():
        for site in model.sites:
            layer = model.model.get_submodule(site.path)
            layer.lora_A.copy_(layer.lora_A[:3].repeat(4, 1))
            layer.lora_B.copy_(layer.lora_B[:, :3].repeat(1, 4))
    opened = store(tmp_path, model.experts())
    opened.put(list(range(20)), np.full((20, 4, 4), 0.25))
    warnings = " ".join(diagnose(opened)["warnings"])
    assert "almost even mixtures" in warnings
    assert "almost the same gates" in warnings
    assert "almost copies of each other" in warnings


def test_one_expert_cannot_collapse(tmp_path):
    opened = store(tmp_path, experts(experts=1))
    opened.put(["a", "b"], np.ones((2, 4, 1)))
    assert diagnose(opened)["warnings"] == []


def test_damage_and_thrashing_are_told(tmp_path):
    opened = store(tmp_path)
    opened.put(list(range(15)), draw(15))
    opened.limit(byte_budget=9000)
    for user in range(15):
        adapter = opened.adapter(user)
    (adapter.path / "adapter_model.safetensors").write_bytes(b"half")
    opened.files.damaged()
    warnings = " ".join(diagnose(opened)["warnings"])
    assert "1 damaged adapters" in warnings
    assert "raise the byte budget" in warnings
