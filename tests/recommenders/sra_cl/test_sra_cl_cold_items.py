"""Items without training events are scored by the vectors of their text neighbours."""

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


def expected_table(table, train, vectors):
    """Ten nearest warm items by cosine, weighted by it; nothing where no cosine is positive."""
    counts = [int((train.items == item + 1).sum()) for item in range(len(vectors))]
    found, n_filled = table.copy(), 0
    for item in range(len(vectors)):
        if counts[item]:
            continue
        cosines = [
            (float(vectors[item] @ vectors[other]), other)
            for other in range(len(vectors))
            if counts[other] and vectors[other].any() and vectors[item].any()
        ]
        best = [(max(cosine, 0.0), other) for cosine, other in sorted(cosines, reverse=True)[:10]]
        total = sum(cosine for cosine, _ in best)
        if total > 0:
            found[item] = sum(cosine / total * table[other] for cosine, other in best)
            n_filled += 1
    return found, n_filled


@pytest.mark.parametrize("seed", range(3))
def test_against_a_loop(seed):
    train, vectors = world(seed=seed)
    encoder = encoder_of(len(vectors))
    before = encoder.items.weight.detach().numpy().copy()
    expected, n_filled = expected_table(before, train, vectors.values)
    assert fill_cold_items(encoder, train, vectors.values) == n_filled > 5
    np.testing.assert_allclose(encoder.items.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    assert encoder.items.weight.requires_grad


def test_nothing_to_fill_or_to_fill_from():
    train, vectors = world(n_items=20, n_warm=20)
    encoder = encoder_of(20)
    before = encoder.items.weight.detach().clone()
    assert fill_cold_items(encoder, train, vectors.values) == 0
    train, _ = world(n_items=20)
    assert fill_cold_items(encoder, train, np.zeros((20, 3), np.float32)) == 0
    assert torch.equal(encoder.items.weight.detach(), before)


def test_as_an_option_of_a_model(tmp_path):
    train, vectors = world()
    plain = model_of(train, vectors).fit(train)
    filled = model_of(train, vectors, cold_items=True).fit(train)
    cold = np.bincount(train.items, minlength=31)[1:] == 0
    left, right = (m.score_catalog(train) for m in (filled, plain))
    np.testing.assert_array_equal(left[:, ~cold], right[:, ~cold])
    changed = (left != right).any(0)
    assert changed[cold].sum() == filled.details["cold_items"] > 0
    assert "cold_items" not in plain.details

    filled.save_pretrained(tmp_path / "model")
    loaded = SRACL.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_catalog(train), left)
    assert loaded.details == filled.details


def test_without_other_objectives_texts_are_still_needed_for_it():
    train, vectors = world()
    options = {"alpha": 0, "beta": 0, "cold_items": True}
    model = model_of(train, vectors, **options).fit(train)
    assert model.details["cold_items"] > 0
    expected = model_of(train, vectors, alpha=0, beta=0).fit(train)
    assert torch.equal(model.encoder.positions.weight, expected.encoder.positions.weight)
    assert SMALL["dim"] == model.encoder.items.weight.shape[1]
