"""The generator: search equals teacher forcing, experts equal a loop, padding changes nothing."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmrec.recommenders.onerec.beam import beam_search
from llmrec.recommenders.onerec.generator.attention import Attention
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.experts import Experts
from llmrec.recommenders.onerec.generator.forms import make_generator as make_generator_of
from llmrec.recommenders.onerec.generator.forms import search_steps
from llmrec.recommenders.onerec.generator.network import SessionBatch
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.trie import Trie

SIZES = (4, 3, 5)
N_ITEMS = 9
FORMS = {
    "encoder-decoder": {"form": "encoder_decoder"},
    "decoder": {"form": "decoder"},
    "items": {"form": "item_decoder", "item_vectors": True},
    "items with experts": {"form": "item_decoder", "writer_layers": 2, "experts": 3},
    "existing codes": {"form": "encoder_decoder", "choices": "existing", "tied": True},
    "sequence of existing codes": {"form": "decoder", "choices": "existing"},
    "items of existing codes": {
        "form": "item_decoder",
        "choices": "existing",
        "tied": True,
        "item_vectors": True,
    },
    "experts": {"form": "encoder_decoder", "experts": 3, "experts_per_token": 2},
    "decoder with experts": {"form": "decoder", "experts": 3, "experts_per_token": 1},
    "repeats": {"form": "encoder_decoder", "repeat_bias": True},
    "repeats of existing codes": {"choices": "existing", "tied": True, "repeat_bias": True},
}


def make_codes(seed=0):
    rng = np.random.default_rng(seed)
    every = np.array(list(itertools.product(*map(range, SIZES))))
    return every[rng.choice(len(every), N_ITEMS, replace=False)]


CODES = make_codes()


def make_generator(seed=0, session=3, **options):
    torch.manual_seed(seed)
    config = GeneratorConfig(
        dim=8, heads=2, feed_forward=12, expert_width=6, history=5, session=session, **options
    )
    generator = make_generator_of(config, torch.from_numpy(CODES), SIZES)
    if generator.repeat_bias is not None:
        torch.nn.init.constant_(generator.repeat_bias, -1.5)
    return generator


def of_lists(rows):
    longest = max((len(row) for row in rows), default=0)
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])


def batch_of(generator, histories, sessions):
    """What the network is taught: a decoder without encoder gets one sequence."""
    if generator.recency is not None:
        session = of_lists(sessions)
        return SessionBatch(of_lists(histories), session, session > 0, len(SIZES))
    whole = of_lists([[*h, *s] for h, s in zip(histories, sessions, strict=True)])
    place = torch.arange(whole.shape[1])
    begin = torch.tensor([len(h) for h in histories])[:, None]
    nothing = torch.zeros(len(whole), 0, dtype=torch.int64)
    return SessionBatch(nothing, whole, (whole > 0) & (place >= begin), len(SIZES))


def list_scores(generator, histories, sessions):
    """Teacher-forced log-probabilities of lists, summed over their codes."""
    batch = batch_of(generator, histories, sessions)
    with torch.no_grad():
        found = generator.log_probabilities(batch)
    return (found.sum(-1) * batch.learn).sum(-1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("items", [1, 2])
def test_a_full_search_scores_every_list_as_teacher_forcing_does(form, items):
    generator = make_generator(**FORMS[form]).eval()
    trie = Trie.build(CODES, SIZES)
    histories = [[1, 2, 3], [4], [5, 6, 7, 8, 1]]
    steps = search_steps(generator)
    possible = list(itertools.permutations(range(1, N_ITEMS + 1), items))
    found = beam_search(
        steps, steps.begin(of_lists(histories)), trie, users=3, width=len(possible) + 3, items=items
    )
    for user, history in enumerate(histories):
        leaves = found.leaves[user][: len(possible)].numpy()
        lists = trie.items.numpy()[leaves]  # one item per leaf here
        assert sorted(map(tuple, lists)) == sorted(possible)
        expected = list_scores(generator, [history] * len(lists), lists.tolist())
        torch.testing.assert_close(
            found.scores[user][: len(possible)], expected, atol=1e-4, rtol=1e-4
        )
        assert not torch.isfinite(found.scores[user][len(possible) :]).any()


@pytest.mark.parametrize("form", FORMS)
def test_a_row_does_not_depend_on_its_batch(form):
    generator = make_generator(**FORMS[form]).eval()
    histories, sessions = [[1, 2, 3, 4, 5], [6], [2, 9]], [[7, 8], [1, 2, 3], [4]]
    together = list_scores(generator, histories, sessions)
    alone = [list_scores(generator, [h], [s]) for h, s in zip(histories, sessions, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_minus_the_log_probability_of_what_is_learnt(form):
    generator = make_generator(**FORMS[form]).eval()
    histories, sessions = [[1, 2], [6, 3, 4]], [[7, 8], [1]]
    batch = batch_of(generator, histories, sessions)
    expected = -list_scores(generator, histories, sessions).sum()
    torch.testing.assert_close(generator(batch), expected, atol=1e-4, rtol=1e-5)
    assert batch.n_targets == 3 * len(SIZES)


def test_what_comes_later_is_not_seen():
    generator = make_generator(form="decoder").eval()
    first = generator.log_probabilities(batch_of(generator, [[1, 2]], [[3, 4, 5]]))
    second = generator.log_probabilities(batch_of(generator, [[1, 2]], [[3, 4, 9]]))
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not torch.allclose(first[:, 4], second[:, 4])


def test_the_codes_of_an_item_depend_on_those_before_them():
    generator = make_generator().eval()
    scores = [
        generator.log_probabilities(batch_of(generator, [[1, 2]], [[item]]))[0, 0]
        for item in range(1, N_ITEMS + 1)
    ]
    level = torch.stack(scores).exp()
    for code in range(SIZES[0]):  # the first level is one distribution
        values = level[CODES[:, 0] == code, 0]
        assert len(set(values.tolist())) <= 1


@torch.no_grad()
def mixture_by_loop(experts, states):
    """Each token alone, each of its experts alone."""
    rows = []
    for state in states:
        shares = (experts.gate.weight @ state).softmax(0)
        best = sorted(range(len(shares)), key=lambda e: -float(shares[e] + experts.bias[e]))
        total = sum(float(shares[e]) for e in best[: experts.per_token])
        row = torch.zeros_like(state)
        for e in best[: experts.per_token]:
            gate, value = (state @ experts.expand[e]).chunk(2)
            share = shares[e] / total if experts.renormalize else shares[e]
            row = row + share * ((functional.silu(gate) * value) @ experts.contract[e])
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("tokens", [1, 17])
def test_experts_against_a_loop(renormalize, tokens):
    torch.manual_seed(1)
    experts = Experts(6, 5, experts=4, per_token=2, renormalize=renormalize).eval()
    experts.bias.copy_(torch.tensor([0.3, -0.2, 0.0, 0.1]))
    states = torch.randn(tokens, 6)
    torch.testing.assert_close(experts(states), mixture_by_loop(experts, states))
    assert not experts.take_load().any()  # only training counts


def test_training_moves_tokens_to_idle_experts():
    torch.manual_seed(0)
    experts = Experts(4, 3, experts=4, per_token=1, balance_rate=0.02).train()
    states = torch.randn(256, 4) + torch.tensor([2.0, 0.0, 0.0, 0.0])
    experts(states)
    before = experts.take_load()
    for _ in range(200):
        experts(states)
    experts.take_load()
    experts(states)
    after = experts.take_load()
    assert before.sum() == after.sum() == 256
    assert after.max() < before.max()
    assert after.max() < 256 / 4 * 1.5


def test_gradients_reach_gate_and_experts():
    experts = Experts(4, 3, experts=3, per_token=3)
    experts(torch.randn(8, 4)).square().sum().backward()
    for parameter in (experts.gate.weight, experts.expand, experts.contract):
        assert (parameter.grad.abs().sum() > 0).all()


def test_attention_of_beams_equals_attention_of_sequences():
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0)
    memory, written = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], dtype=torch.bool)
    own = attention.own_key_values(written)  # three beams that have written one token each
    found = attention.step(written, attention.key_values(memory), mask, own)
    for user, beam in itertools.product(range(2), range(3)):
        keys = torch.cat([memory[user][mask[user]], written[user, beam][None]])[None]
        expected = attention(written[user, beam][None, None], keys)
        torch.testing.assert_close(found[user, beam], expected[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dim": 10, "heads": 4}, "heads=4 must divide dim=10"),
        ({"experts": 2, "experts_per_token": 3}, "experts_per_token=3 is more than experts=2"),
        ({"form": "decoder", "repeat_bias": True}, "repeat_bias is for form=encoder_decoder"),
        ({"form": "decoder", "item_vectors": True}, "item_vectors is for form=item_decoder"),
        ({"writer_layers": 2}, "writer_layers is for form=item_decoder"),
        *(
            ({"form": form, "history": 4, "session": 5}, "history=4 must not be less than session=")
            for form in ("decoder", "item_decoder")
        ),
    ],
)
def test_settings_that_do_not_fit(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        GeneratorConfig(**options)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_changes_the_loss_by_rounding_only(form):
    generator = make_generator(dropout=0.0, **FORMS[form])
    batch = batch_of(generator, [[1, 2], [3]], [[4, 5, 6], [7]])
    exact = generator(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = generator(batch)
    rounded.backward()
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize(("form", "read"), [("decoder", 1), ("encoder_decoder", 5)])
def test_a_list_ends_within_the_places_that_were_learnt(form, read):
    generator = make_generator(form=form, session=5)  # of history=5
    assert GeneratorWriter(generator).newest(5) == read
