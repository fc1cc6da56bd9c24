"""A byte-level BPE tokenizer of one's own texts; every text has tokens, whatever its script."""

from collections.abc import Iterable
from typing import Any

from llmrec.tiny_lm.corpus import BOS, EOS, PAD


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Learn a tokenizer.

    Args:
        texts: What it is learnt from.
        vocab_size: Most tokens, the 256 bytes and three special tokens among them.

    Returns:
        A ``PreTrainedTokenizerFast`` that begins every text with the token for that.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )
