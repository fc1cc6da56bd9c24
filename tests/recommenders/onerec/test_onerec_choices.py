"""What a level chooses from: against sums over the items written out."""

import numpy as np
import pytest
import torch

from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.generator.choices import CodeHead, ExistingCodes
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.forms import make_generator
from llmrec.recommenders.onerec.generator.lists import list_log_probabilities

SIZES = (3, 4, 2)
CODES = torch.tensor([[0, 1, 0], [0, 1, 1], [0, 3, 0], [2, 0, 1], [2, 3, 0], [2, 3, 0]])


def below(prefix):
    """Items whose codes begin with a prefix."""
    return [n for n, row in enumerate(CODES.tolist()) if row[: len(prefix)] == list(prefix)]


def continuations(prefix):
    """Codes that lead from a prefix to an item."""
    return sorted({CODES[n, len(prefix)].item() for n in below(prefix)})


@pytest.mark.parametrize("prefix", [(), (0,), (2,), (0, 1), (0, 3), (2, 3)])
def test_a_code_competes_with_those_that_continue_to_an_item(prefix):
    existing, level = ExistingCodes(CODES, SIZES), len(prefix)
    logits = torch.randn(5, SIZES[level])
    before = [torch.full((5,), code) for code in prefix]
    found = existing.log_normalizer(level, logits, before)
    torch.testing.assert_close(found, logits[:, continuations(prefix)].logsumexp(1))


@pytest.mark.parametrize("prefix", [(), (0,), (2,), (0, 1), (2, 3)])
def test_items_add_the_mean_of_their_vectors_to_the_codes_that_lead_to_them(prefix):
    existing, level = ExistingCodes(CODES, SIZES), len(prefix)
    states, vectors = torch.randn(4, 8), torch.randn(len(CODES), 8)
    before = [torch.full((4,), code) for code in prefix]
    found = existing.item_logits(level, states, vectors, before)
    expected = torch.zeros(4, SIZES[level])
    for code in continuations(prefix):
        expected[:, code] = states @ vectors[below((*prefix, code))].mean(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", ["encoder_decoder", "decoder", "item_decoder"])
def test_the_ids_of_a_catalogue_have_probabilities_that_sum_to_one(form):
    torch.manual_seed(0)
    own = {"item_vectors": True} if form == "item_decoder" else {}
    config = GeneratorConfig(
        form=form, dim=8, heads=2, feed_forward=8, history=4, choices="existing", **own
    )
    generator = make_generator(config, CODES, SIZES).eval()
    different = torch.arange(1, 6)[:, None]  # the sixth item shares the ID of the fifth
    history = torch.tensor([[3, 1]]).expand(5, -1)
    found = list_log_probabilities(generator, history, different)
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-5)
    everything = make_generator(config.model_copy(update={"choices": "all"}), CODES, SIZES).eval()
    assert list_log_probabilities(everything, history, different).exp().sum().item() < 0.9


def test_tied_codes_have_one_vector_and_a_bias_of_their_own():
    head, inputs = CodeHead(4, 3, tied=True), torch.randn(3, 4)
    assert [name for name, _ in head.named_parameters()] == ["bias"]
    states = torch.randn(2, 4)
    with torch.no_grad():
        head.bias[:] = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(head(states, inputs), states @ inputs.T + head.bias)


def test_ids_that_are_too_long_to_be_numbered_are_refused():
    codes = torch.from_numpy(np.zeros((2, 9), dtype=np.int64))
    with pytest.raises(ConfigError, match="9 levels are too long for choices=existing"):
        ExistingCodes(codes, (256,) * 9)
