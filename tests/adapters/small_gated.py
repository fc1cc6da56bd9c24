"""A random Llama of 20 thousand weights and gated LoRA on it."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gated_lora import GatedLora

VOCAB = 61
COMPOSITIONS = {
    "merge_factors": {"experts": 4, "rank": 3},
    "sum_products": {"experts": 4, "rank": 3},
    "rank_scale": {"experts": 1, "rank": 5},
    "shared": {"experts": 1, "rank": 4, "gate_dim": 0},
}


def base_model(seed=3, layers=2):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def settings(compose="merge_factors", **changes):
    values = {"target_modules": ("q_proj", "v_proj"), "gate_dim": 6, "b_noise": 0.3}
    return GatedLoraConfig(compose=compose, **{**values, **COMPOSITIONS[compose], **changes})


def gated(compose="merge_factors", seed=0, **changes):
    base = base_model()
    torch.manual_seed(seed)
    return GatedLora(base, settings(compose, **changes), "tests/small").eval()


def weights_of(model, rows=3, seed=1):
    """Gate weights of different users, far from even."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, model.n_gates, model.config_lora.blocks)
    drawn = torch.randn(shape, generator=generator)
    return torch.ones_like(drawn[:1]) if model.gates is None else (2 * drawn).softmax(-1)


def tokens(rows=3, length=7, seed=2):
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))
