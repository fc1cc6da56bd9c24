"""A sentence-transformer of a few thousand random weights."""

import pytest

WORDS = "red lipstick matte garden hose reel shampoo dry hair nail polish dark a longer text about"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Directory of a BERT with 16 dimensions, mean pooling and at most 24 tokens."""
    pytest.importorskip("sentence_transformers", reason="the extra 'text' is not installed")
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    codes = {word: code for code, word in enumerate(["[PAD]", "[UNK]", *WORDS.split()])}
    words = Tokenizer(models.WordLevel(codes, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=24
    )
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(codes),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    body = modules.Transformer(str(folder), max_seq_length=24)
    model = SentenceTransformer(modules=[body, modules.Pooling(16)], device="cpu")
    target = tmp_path_factory.mktemp("tiny") / "model"
    model.save_pretrained(str(target), create_model_card=False)
    return target
