"""Texts and tokens, for tokenizers of three families."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from llmrec.errors import ConfigError
from llmrec.inference.hf_tokenizer import HFTokens

SPECIALS = ["<bos>", "<eos>"]


def wrapped(tokenizer, begin, end="<eos>"):
    names = {"bos_token": begin} if begin else {}
    return HFTokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, **names))


def byte_level(merges=()):
    alphabet = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    vocab = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def metaspace():
    """The Llama 2 family: a space begins every text, and decoding drops it again."""
    words = [*SPECIALS, "▁", "\n", *"Yesnoab"]
    vocab = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    return tokenizer


def test_continuation_gets_no_space_of_its_own():
    tokens = wrapped(metaspace(), "<bos>")
    prompt = tokens.prompts(["no"])[0]
    assert tokens.decode(prompt) == "no"
    (yes,) = tokens.continuations(["Yes"])
    assert tokens.decode(prompt + yes) == "noYes"
    (spaced,) = tokens.continuations([" Yes"])
    assert tokens.decode(prompt + spaced) == "no Yes"
    assert len(spaced) == len(yes) + 1


def test_continuation_keeps_its_tokens_whatever_comes_before():
    tokens = wrapped(byte_level([("a", "b"), ("b", "b")]), None)
    assert len(tokens.prompts(["ab"])[0]) == 1
    assert [len(ids) for ids in tokens.continuations(["b", "ab", "bb"])] == [1, 1, 1]
    (whole,) = tokens.prompts(["abb"])
    assert whole != tokens.prompts(["a"])[0] + tokens.continuations(["bb"])[0]


def test_beginning_is_added_where_the_tokenizer_adds_it_and_once():
    tokens = wrapped(metaspace(), "<bos>")
    assert tokens.adds_bos
    assert tokens.prompts(["ab", ""])[1] == [0]
    assert tokens.prompts(["ab"])[0][0] == 0
    assert tokens.prompts(["<bos>ab"])[0].count(0) == 1


def test_tokenizer_that_has_a_beginning_but_does_not_add_it():
    """GPT-2: one token ends texts and may begin one."""
    tokens = wrapped(byte_level(), "<eos>")
    assert not tokens.adds_bos
    assert tokens.prompts(["ab", ""]) == [tokens.continuations(["ab"])[0], [1]]


def test_tokenizer_without_a_beginning():
    with pytest.raises(ConfigError, match="prompt is empty"):
        wrapped(byte_level(), None).prompts([""])


def test_half_a_character_shows_as_such():
    tokens = wrapped(byte_level(), None)
    (ids,) = tokens.continuations(["é"])
    assert [tokens.piece(token) for token in ids] == ["\ufffd", "\ufffd"]
    assert tokens.decode(ids) == "é"
    assert tokens.decode([1, *ids, 1]) == "é"
    assert tokens.piece(1) == "<eos>"


def test_fingerprint_follows_what_the_tokenizer_does():
    plain = wrapped(byte_level(), None).fingerprint
    assert plain == wrapped(byte_level(), None).fingerprint
    assert plain != wrapped(byte_level([("a", "b")]), None).fingerprint
    assert plain != wrapped(byte_level(), "<bos>").fingerprint
    asked = []
    for template in ("{{ messages[0].content }}", "say: {{ messages[0].content }}"):
        chat = wrapped(byte_level(), None)
        chat.tokenizer.chat_template = template
        asked.append(chat.fingerprint)
    assert len({plain, *asked}) == 3
