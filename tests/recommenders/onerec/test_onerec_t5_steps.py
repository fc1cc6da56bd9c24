"""The T5 adapter against Hugging Face's own forward pass and beam search."""

import numpy as np
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.beam import beam_search
from llmrec.recommenders.onerec.t5_steps import T5Steps
from llmrec.recommenders.onerec.trie import Trie

SIZES, FIRST, VOCABULARY = (5, 6, 4), (3, 8, 14), 20


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def model(request):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=3,
        decoder_start_token_id=0, pad_token_id=0, tie_word_embeddings=request.param,
        feed_forward_proj="gated-gelu" if request.param else "relu", initializer_factor=3.0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).double().eval()


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, VOCABULARY, (3, 7), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, 4:] = 0
    return tokens, mask


@pytest.fixture(scope="module")
def codes():
    rng = np.random.default_rng(2)
    return np.unique(np.stack([rng.integers(0, size, 40) for size in SIZES], axis=1), axis=0)


@torch.inference_mode()
def forced(model, inputs, user, written):
    """Log-probabilities after ``written`` tokens by the model's own forward pass."""
    tokens, mask = (part[user : user + 1] for part in inputs)
    logits = model(tokens, mask, decoder_input_ids=torch.tensor([written])).logits
    return logits.double().log_softmax(-1)[0]


@pytest.mark.parametrize("normalize_over", ["all", "level"])
def test_lists_score_as_the_model_scores_them(model, inputs, codes, normalize_over):
    trie = Trie.build(codes, SIZES)
    steps = T5Steps(model, FIRST, SIZES, normalize_over=normalize_over)
    lists = beam_search(steps, steps.encode(*inputs), trie, users=3, width=6, items=2)
    assert lists.found.tolist() == [6, 6, 6]
    for user in range(3):
        for place in range(6):
            first, second = trie.leaf_codes(lists.leaves[user, place]).tolist()
            tokens = [[code + base for code, base in zip(c, FIRST, strict=True)]
                      for c in (first, second)]  # fmt: skip
            written = [0, *tokens[0], 0, *tokens[1]]
            scores = forced(model, inputs, user, written)
            total = 0.0
            for place_of, level in zip((0, 1, 2, 4, 5, 6), (0, 1, 2) * 2, strict=True):
                block = scores[place_of]
                if normalize_over == "level":
                    block = block - block[FIRST[level] : FIRST[level] + SIZES[level]].logsumexp(0)
                total += float(block[written[place_of + 1]])
            assert float(lists.scores[user, place]) == pytest.approx(total, rel=1e-6, abs=1e-5)


def test_the_same_items_as_generate_with_a_prefix_function(model, inputs, codes):
    trie, steps = Trie.build(codes, SIZES), T5Steps(model, FIRST, SIZES)
    width = 8
    lists = beam_search(steps, steps.encode(*inputs), trie, users=3, width=width)
    allowed = {}
    for row in codes + np.array(FIRST):
        for level in range(3):
            allowed.setdefault(tuple(row[:level].tolist()), set()).add(int(row[level]))
    out = model.generate(
        inputs[0], attention_mask=inputs[1], num_beams=width, num_return_sequences=width,
        max_new_tokens=3, min_new_tokens=3, do_sample=False, length_penalty=0.0,
        return_dict_in_generate=True, output_scores=True, early_stopping=True,
        prefix_allowed_tokens_fn=lambda _, written: sorted(allowed[tuple(written[1:].tolist())]),
    )  # fmt: skip
    theirs = (out.sequences[:, 1:4] - torch.tensor(FIRST)).view(3, width, 3)
    assert lists.scores.flatten().tolist() == pytest.approx(
        out.sequences_scores.tolist(), rel=1e-6, abs=1e-5
    )
    assert trie.leaf_codes(lists.leaves[..., 0]).tolist() == theirs.tolist()


def test_beams_of_a_user_share_one_copy_of_the_encoded_history(model, inputs, codes):
    steps = T5Steps(model, FIRST, SIZES)
    state = steps.encode(*inputs)
    before = [keys.data_ptr() for keys, _ in state.cross]
    beam_search(steps, state, Trie.build(codes, SIZES), users=3, width=6)
    assert [keys.data_ptr() for keys, _ in state.cross] == before
    assert all(keys.shape[0] == 3 for keys, _ in state.cross)
    assert state.own[0][0].shape[:2] == (3, 6)


def test_a_model_in_training_mode_and_tokens_outside_are_refused(model):
    with pytest.raises(ConfigError, match="tokens 18 to 21 of level 2"):
        T5Steps(model, (3, 8, 18), SIZES)
    model.train()
    try:
        with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
            T5Steps(model, FIRST, SIZES)
    finally:
        model.eval()
