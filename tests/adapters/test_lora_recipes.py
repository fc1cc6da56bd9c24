"""LoRA recipes: each fits models of its family, and what is wrong is named."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.recipes import lora_recipe, lora_recipe_for, lora_recipe_names
from llmrec.errors import ConfigError

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
TYPES = [kind for name in lora_recipe_names() for kind in lora_recipe(name).model_types]


@pytest.mark.parametrize("model_type", TYPES)
def test_a_recipe_fits_the_models_it_is_for(model_type):
    recipe = lora_recipe_for(model_type)
    assert recipe.name in lora_recipe_names()
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL))
    model = GatedLora(base, recipe.config(gate_dim=3)).eval()
    assert len(model.sites) == len(recipe.target_modules)
    ids = torch.ones(2, 4, dtype=torch.long)
    assert model(input_ids=ids, gate_input=torch.randn(2, 3)).logits.shape == (2, 4, 32)


def test_every_recipe_gives_its_reason_and_its_own_name():
    assert "tiny" in lora_recipe_names()
    assert len(set(TYPES)) == len(TYPES) >= 5
    for name in lora_recipe_names():
        recipe = lora_recipe(name)
        assert recipe.name == name
        assert len(recipe.reason) > 40


def test_changes_and_files(tmp_path):
    assert lora_recipe("llama").config(gate_dim=4, experts=2).experts == 2
    text = (
        "schema: 1\nname: mine\nmodel_types: [x]\nreason: because\ntarget_modules: [a]\n"
        "experts: 2\nrank: 1\nalpha: 1\ncompose: sum_products\ngate_scope: global\n"
    )
    (tmp_path / "mine.yaml").write_text(text)
    assert lora_recipe(tmp_path / "mine.yaml").config(gate_dim=1).adapter_rank == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        ("[1]", "must hold keys and values"),
        ("schema: 1\nranks: 3\n", "ranks"),
        ("a: [", "cannot be read"),
        ("schema: 2\n", "schema"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, why):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=why):
        lora_recipe(path)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'llama'"):
        lora_recipe("lama")
    with pytest.raises(ConfigError, match="no LoRA recipe is for model type 'qwen9'"):
        lora_recipe_for("qwen9")
    with pytest.raises(ConfigError, match="LoRA recipe llama"):
        lora_recipe("llama").config(gate_dim=4, expert=2)
