"""What experts' fingerprint depends on, and on what it must not depend."""

import dataclasses

import pytest
import torch
from small_gated import base_model, settings
from small_store import experts

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.experts import BaseModelId, Experts, Site
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.store import AdapterStore

WRITTEN = Experts(
    settings(experts=2, rank=2, gate_scope="global"),
    (Site("layers.0.q_proj", 3, 5, 0),),
    BaseModelId("models/base", "0123456789abcdef"),
    {
        "layers.0.q_proj.lora_A": torch.arange(12.0).view(4, 3),
        "layers.0.q_proj.lora_B": torch.arange(20.0).view(5, 4),
    },
)


def test_a_fingerprint_stays_what_it_was():
    """Stores and runs hold it: if it changes, all of them are refused."""
    assert WRITTEN.fingerprint == "430d1c388caf1f30"


def test_a_setting_that_is_new_changes_no_fingerprint():
    class Later(GatedLoraConfig):
        added: float = 0.0

    values = WRITTEN.config.model_dump()
    same = dataclasses.replace(WRITTEN, config=Later(**values))
    assert same.fingerprint == WRITTEN.fingerprint
    other = dataclasses.replace(WRITTEN, config=Later(**values, added=0.5))
    assert other.fingerprint != WRITTEN.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"config": settings(experts=2, rank=2, gate_scope="global", alpha=15.0)},
        {"sites": (Site("layers.0.v_proj", 3, 5, 0),)},
        {"base": BaseModelId("models/base", "123456789abcdef0")},
        {"tensors": {name: tensor + 1 for name, tensor in WRITTEN.tensors.items()}},
    ],
)
def test_what_matters_changes_the_fingerprint(changes):
    assert dataclasses.replace(WRITTEN, **changes).fingerprint != WRITTEN.fingerprint


def test_a_base_model_that_lies_elsewhere_is_the_same(tmp_path):
    """A run names its experts where it was trained; a store is made where the base lies now."""
    trained = experts()
    base = base_model()
    torch.manual_seed(0)
    moved = GatedLora(base, settings(), str(tmp_path / "elsewhere")).experts()
    assert moved.base.name != trained.base.name
    bundle = Bundle(base_model=trained.base.fingerprint, experts=trained.fingerprint)
    made = AdapterStore.create(tmp_path / "store", moved, bundle)
    assert made.bundle.experts == trained.fingerprint
