"""A language model in the layout of transformers, made on the spot: nothing is downloaded.

Random weights, 100 thousand of them, and one token per byte, so that a text and its tokens are one
and the same. Readable characters are favoured by a hidden unit that is always on: what the model
writes is gibberish, but hardly ever half a character.
"""

from pathlib import Path

VOCAB_SIZE = 258
CONTEXT = 256
BOS, EOS = 0, 1


def token_of(character: str) -> int:
    """The token of an ASCII character."""
    return 2 + ord(character)


def save_tiny_llama(folder: Path, seed: int = 0, ends: str = "", bos: bool = True) -> Path:
    """Write a model and its tokenizer.

    Args:
        folder: Where to; made if missing.
        seed: Of the weights.
        ends: ASCII characters that end a text as the end-of-text token does.
        bos: Whether there is a token that begins every text.

    Returns:
        The folder.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.25,
        tie_word_embeddings=False,
        bos_token_id=BOS if bos else None,
        eos_token_id=[EOS, *map(token_of, ends)],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        model.model.embed_tokens.weight.normal_()
        _favour_ascii(model)
    # generation settings of a checkpoint must not matter, so these would be easy to notice
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=9.0)
    model.save_pretrained(folder)
    _save_tokenizer(Path(folder), bos)
    return Path(folder)


def save_tiny_adapter(
    folder: Path,
    base: Path,
    seed: int = 0,
    rank: int = 4,
    targets: tuple[str, ...] = ("q_proj", "v_proj", "down_proj"),
) -> Path:
    """Write a LoRA adapter with random weights for a model of :func:`save_tiny_llama`.

    Args:
        folder: Where to.
        base: Folder of the model.
        seed: Of the weights.
        rank: Of the matrices.
        targets: Names of the layers that are changed.

    Returns:
        The folder.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets))
        adapted = get_peft_model(model, config)
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
        adapted.save_pretrained(str(folder))
    return Path(folder)


def _favour_ascii(model: object) -> None:
    """Keep hidden unit 0 constant and let the last layer read it as a bias."""
    inner = model.model  # type: ignore[attr-defined]
    inner.embed_tokens.weight[:, 0] = 6.0
    for layer in inner.layers:
        attention, mlp = layer.self_attn, layer.mlp
        readers = (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj)
        for reader in readers:
            reader.weight[:, 0] = 0.0
        for writer in (attention.o_proj, mlp.down_proj):
            writer.weight[0] = 0.0
    bias = model.lm_head.weight[:, 0]  # type: ignore[attr-defined]
    bias[:] = -3.0
    bias[2 + 32 : 2 + 127] = 1.5


def _save_tokenizer(folder: Path, bos: bool) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = {"<bos>": BOS, "<eos>": EOS}
    words = specials | {_shown(byte): 2 + byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", BOS)]
        )
    begins = {"bos_token": "<bos>"} if bos else {}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", **begins
    ).save_pretrained(folder)


def _shown(byte: int) -> str:
    """How byte-level tokenizers write a byte: printable ones as themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    hidden = [other for other in range(256) if other not in printable]
    return chr(256 + hidden.index(byte))
