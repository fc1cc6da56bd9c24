"""Blocks of tokens: every token is predicted once, nothing is padded."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from llmrec.errors import ConfigError
from llmrec.tiny_lm.config import make_config
from llmrec.tiny_lm.corpus import BOS, EOS
from llmrec.tiny_lm.network import NextTokenLoss, count_weights, make_network
from llmrec.tiny_lm.packing import TokenBatch, TokenBlocks, answers_in, token_stream
from llmrec.tiny_lm.tokenizer import train_tokenizer

TEXTS = ["The old film", "Łódź 映画 \U0001f3ac", "", "line\nline  two"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["The old film was a film about an old town."] * 20, 300)


def test_any_text_comes_back_whole(tokenizer):
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer(" film")["input_ids"]) == 2  # learnt as one token


def test_the_stream_holds_documents_between_their_tokens(tokenizer):
    stream = token_stream(tokenizer, TEXTS)
    shown = tokenizer.decode(stream.tolist())
    assert shown == "".join(f"{BOS}{text}{EOS}" for text in TEXTS)


def test_every_token_is_predicted_once_but_for_the_wrap():
    stream = np.arange(23, dtype=np.int32)
    blocks = TokenBlocks(stream, 5)
    batch = blocks.batch(np.arange(len(blocks)), np.random.default_rng(0))
    assert batch.ids.shape == (5, 6)
    assert batch.n_targets == 25
    predicted = batch.ids[:, 1:].reshape(-1).tolist()
    assert sorted(predicted[:22]) == list(range(1, 23))
    assert predicted[22:] == [0, 1, 2]
    assert (batch.ids[:, 1:] == (batch.ids[:, :-1] + 1) % 23).all()


def test_an_empty_stream_is_refused():
    with pytest.raises(ConfigError, match="no tokens"):
        TokenBlocks(np.empty(0, dtype=np.int32), 4)


def test_answers_count_as_often_as_asked(tokenizer):
    config = make_config("test", hidden_size=32, layers=1, intermediate_size=32)
    torch.manual_seed(0)
    network = make_network(config, tokenizer)
    module = NextTokenLoss(network)
    stream = np.random.default_rng(0).integers(0, len(tokenizer), 40).astype(np.int32)
    heavy = np.zeros(40, dtype=bool)
    heavy[[3, 17, 39]] = True
    batch = TokenBlocks(stream, 10, heavy, weight=4).batch(np.arange(4), np.random.default_rng(0))
    logits = network(batch.ids[:, :-1], use_cache=False).logits
    each = F.cross_entropy(logits.transpose(1, 2), batch.ids[:, 1:], reduction="none").reshape(-1)
    weights = torch.ones(40)
    weights[[2, 16, 38]] = 4.0
    assert batch.n_targets == weights.sum()
    torch.testing.assert_close(module(batch), (weights * each).sum())
    alone = module(TokenBatch(batch.ids, batch.again[:0], 0))
    torch.testing.assert_close(alone, each.sum())


def test_gradients_are_those_of_plain_cross_entropy(tokenizer):
    torch.manual_seed(1)
    network = make_network(make_config("test", hidden_size=32, layers=1), tokenizer)
    ids = torch.randint(0, len(tokenizer), (2, 12))
    NextTokenLoss(network)(TokenBatch(ids, ids.new_empty(0), 0)).backward()
    found = {name: weight.grad.clone() for name, weight in network.named_parameters()}
    network.zero_grad()
    logits = network(ids[:, :-1], use_cache=False).logits
    F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="sum").backward()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, atol=1e-4, rtol=1e-4)


def test_weights_are_counted_apart(tokenizer):
    network = make_network(make_config("small"), tokenizer)
    counts = count_weights(network)
    assert counts["embedding"] == len(tokenizer) * 192
    assert 1e6 < counts["outside_embedding"] < 3e6
    assert sum(counts.values()) == sum(w.numel() for w in network.parameters())


def test_answers_are_those_of_questions_alone():
    asked = "Will the user like Dr. No (1962)? Yes\nWill the user like No? No"
    learnt = train_tokenizer([asked] * 30, 320)
    stream = token_stream(learnt, [asked, "There is No hope. Yes"])
    found = [learnt.decode([token]) for token in stream[answers_in(learnt, stream)].tolist()]
    assert found == [" Yes", " No"]


def test_a_tokenizer_without_the_answers_has_none(tokenizer):
    stream = token_stream(tokenizer, ["Is it? Yes"])
    assert not answers_in(tokenizer, stream).any()
