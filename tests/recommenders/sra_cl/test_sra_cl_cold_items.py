"""Items with few or no training events are drawn to the vectors of their text neighbours."""

import numpy as np
import pytest
import torch
from small_sra_cl import SMALL, encoder_of, histories_of, model_of

from llmrec.recommenders.sra_cl import SRACL
from llmrec.recommenders.sra_cl.cold_items import fill_cold_items
from llmrec.retrieval.vectors import TextVectors


def world(n_items=30, n_warm=16, seed=0):
    rng = np.random.default_rng(seed)
    warm = rng.permutation(n_items)[:n_warm] + 1
    train = histories_of(
        [rng.choice(warm, 6).tolist() for _ in range(9)] + [warm.tolist()], n_items
    )
    vectors = rng.normal(size=(n_items, 3))
    vectors[rng.choice(n_items, 4, replace=False)] = 0
    return train, TextVectors.from_array(vectors, train.vocabulary)


def expected_table(table, train, vectors, prior):
    """A loop: ten nearest items of three events or more, by the fourth power of the cosine."""
    counts = [int((train.items == item + 1).sum()) for item in range(len(vectors))]
    found, changed = table.copy(), {"filled": 0, "blended": 0}
    for item in range(len(vectors)):
        if counts[item] and not prior:
            continue
        cosines = [
            (float(vectors[item] @ vectors[other]), other)
            for other in range(len(vectors))
            if counts[other] >= 3 and vectors[other].any() and vectors[item].any()
        ]
        near = [pair for pair in sorted(cosines, reverse=True) if pair[1] != item][:10]
        weights = [(max(cosine, 0.0) ** 4, other) for cosine, other in near]
        total = sum(weight for weight, _ in weights)
        if total > 0:
            own = counts[item] / (counts[item] + prior) if counts[item] else 0.0
            mean = sum(weight / total * table[other] for weight, other in weights)
            found[item] = own * table[item] + (1 - own) * mean
            changed["blended" if counts[item] else "filled"] += 1
    return found, changed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_against_a_loop(seed, prior):
    train, vectors = world(seed=seed)
    encoder = encoder_of(len(vectors))
    before = encoder.items.weight.detach().numpy().copy()
    expected, changed = expected_table(before, train, vectors.values, prior)
    assert fill_cold_items(encoder, train, vectors.values, prior) == changed
    assert changed["filled"] > 5
    assert (changed["blended"] > 5) == (prior > 0)
    np.testing.assert_allclose(encoder.items.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    assert encoder.items.weight.requires_grad


def test_nothing_to_fill_or_to_fill_from():
    train, vectors = world(n_items=20, n_warm=20)
    encoder = encoder_of(20)
    before = encoder.items.weight.detach().clone()
    assert fill_cold_items(encoder, train, vectors.values)["filled"] == 0
    train, _ = world(n_items=20)
    assert fill_cold_items(encoder, train, np.zeros((20, 3), np.float32))["filled"] == 0
    assert torch.equal(encoder.items.weight.detach(), before)


def test_as_an_option_of_a_model(tmp_path):
    train, vectors = world()
    plain = model_of(train, vectors).fit(train)
    filled = model_of(train, vectors, cold_items=True).fit(train)
    cold = np.bincount(train.items, minlength=31)[1:] == 0
    left, right = (m.score_catalog(train) for m in (filled, plain))
    np.testing.assert_array_equal(left[:, ~cold], right[:, ~cold])
    changed = (left != right).any(0)
    assert changed[cold].sum() == filled.details["cold_items"]["filled"] > 0
    assert "cold_items" not in plain.details

    filled.save_pretrained(tmp_path / "model")
    loaded = SRACL.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_catalog(train), left)
    assert loaded.details == filled.details


def test_without_other_objectives_texts_are_still_needed_for_it():
    train, vectors = world()
    options = {"alpha": 0, "beta": 0, "cold_items": True}
    model = model_of(train, vectors, **options).fit(train)
    assert model.details["cold_items"]["filled"] > 0
    expected = model_of(train, vectors, alpha=0, beta=0).fit(train)
    assert torch.equal(model.encoder.positions.weight, expected.encoder.positions.weight)
    assert SMALL["dim"] == model.encoder.items.weight.shape[1]


def test_a_prior_changes_rare_items_after_training_only():
    train, vectors = world()
    plain, blended = (
        model_of(train, vectors, **options).fit(train) for options in ({}, {"text_prior": 1.0})
    )
    assert blended.details["cold_items"]["blended"] > 0
    assert torch.equal(plain.encoder.positions.weight, blended.encoder.positions.weight)
    events = np.bincount(train.items, minlength=31)[1:]
    moved = (plain.encoder.items.weight - blended.encoder.items.weight).detach().norm(dim=1)
    rare, often = moved[events == 2], moved[events >= events.max()]
    assert rare.mean() > often.mean()
