"""The network: a plain Llama of transformers with tied embeddings, and what it minimises."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec.tiny_lm.config import HEAD_DIM, TinyConfig
from llmrec.tiny_lm.packing import TokenBatch
from llmrec.training.softmax import full_softmax_loss


def make_network(config: TinyConfig, tokenizer: Any) -> LlamaForCausalLM:
    """A network with random weights for a tokenizer; seed torch before."""
    heads = config.hidden_size // HEAD_DIM
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(settings)


def count_weights(network: nn.Module) -> dict[str, int]:
    """Number of weights in the embedding and outside it."""
    embedding = network.get_input_embeddings().weight.numel()  # type: ignore[operator]
    everything = sum(weight.numel() for weight in network.parameters())
    return {"embedding": embedding, "outside_embedding": everything - embedding}


class NextTokenLoss(nn.Module):
    """A network with its loss: what the training loop trains.

    Args:
        network: The network; its embedding is its last layer, too.
    """

    def __init__(self, network: LlamaForCausalLM) -> None:
        super().__init__()
        self.body = network.model  # without the last layer, which is the embedding once more

    def forward(self, batch: TokenBatch) -> Tensor:
        """Cross-entropy summed over all tokens but each block's first, as often as each counts."""
        states = self.body(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
        vectors = self.body.embed_tokens.weight
        kind = states.device.type
        mixed = torch.is_autocast_enabled(kind)
        precision = torch.get_autocast_dtype(kind) if mixed else torch.float32
        flat = states.float().reshape(-1, states.shape[-1])
        targets = batch.ids[:, 1:].reshape(-1)
        loss = full_softmax_loss(flat, vectors, targets, precision)
        if batch.times and batch.again.numel():
            heavy = flat[batch.again], vectors, targets[batch.again]
            loss = loss + batch.times * full_softmax_loss(*heavy, precision)
        return loss
