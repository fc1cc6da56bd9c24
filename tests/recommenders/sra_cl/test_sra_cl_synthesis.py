"""Weights of neighbours against the formulas written out."""

import numpy as np
import pytest
import torch

from llmrec.recommenders.sra_cl.synthesis import Synthesis, uniform_weights

KINDS = ["gat_v1", "gat_v2", "bilinear", "cosine"]
TEXT, DIM = 4, 3


def made(kind, dropout=0.0, renormalise=True):
    torch.manual_seed(1)
    return Synthesis(TEXT, DIM, kind, dropout, renormalise)


def draw(n=5, k=4, seed=0):
    rng = np.random.default_rng(seed)
    valid = rng.random((n, k)) < 0.6
    valid[:, 0] = True
    query, keys = rng.normal(size=(n, TEXT)), rng.normal(size=(n, k, TEXT))
    return [torch.from_numpy(a.astype(np.float32)) for a in (query, keys)], torch.from_numpy(valid)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def logit(kind, weights, query, key):
    """One logit in float64."""
    if kind == "cosine":
        return float(weights["scale"]) * sum(a * b for a, b in zip(query, key, strict=True))
    project = weights["project"]
    if kind == "bilinear":
        return (project.T @ query) @ (project.T @ key) / DIM**0.5
    attend = weights["attend"][:, 0]
    if kind == "gat_v2":
        return attend @ leaky(project.T @ np.concatenate([query, key]))
    return leaky(attend @ np.concatenate([project.T @ query, project.T @ key]))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_equal_the_formula(kind):
    module = made(kind)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    (query, keys), valid = draw()
    weights = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
    found = module(query, keys, valid).detach().numpy()
    for row in range(len(query)):
        logits = [logit(kind, weights, query[row].numpy(), key.numpy()) for key in keys[row]]
        shares = np.where(valid[row], np.exp(logits), 0)
        np.testing.assert_allclose(found[row], shares / shares.sum(), rtol=1e-4, atol=1e-6)
    assert (found[~valid.numpy()] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns_and_texts_do_not(kind):
    module = made(kind)
    (query, keys), valid = draw()
    (module(query, keys, valid) * torch.arange(4.0)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_xavier_initialisation_with_the_papers_gain():
    module = made("gat_v1")
    bound = 1.414 * (6 / (TEXT + DIM)) ** 0.5
    assert module.project.abs().max() <= bound
    assert module.project.abs().max() > 0.7 * bound
    assert module.attend.shape == (2 * DIM, 1)


def test_in_gat_v1_the_query_does_not_rank_neighbours():
    rng = np.random.default_rng(3)
    keys = torch.from_numpy(rng.normal(size=(6, TEXT)).astype(np.float32))
    queries = torch.from_numpy(rng.normal(size=(50, TEXT)).astype(np.float32))
    every = torch.ones(50, 6, dtype=torch.bool)
    spread = keys.expand(50, 6, TEXT)
    weights = made("gat_v1")(queries, spread, every)
    assert len(torch.unique(weights.argsort(1), dim=0)) == 1
    assert len(torch.unique(made("bilinear")(queries, spread, every).argsort(1), dim=0)) > 1

    # far on one side of zero, all logits share a sign and the query drops out of the weights
    module = made("gat_v1")
    own = module.project @ module.attend[:DIM]
    aligned = 100 * own.T.sign() * torch.rand(50, 1).add(1)
    same = module(aligned, spread, every)
    torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        same[0], torch.softmax((keys @ module.project @ module.attend[DIM:])[:, 0], 0),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


class TestDropout:
    """Of weights, with and without making the rest sum to 1."""

    def weights(self, renormalise, n=4000):
        (query, keys), _ = draw(1, 2)
        module = made("cosine", 0.5, renormalise).train()
        valid = torch.ones(n, 2, dtype=torch.bool)
        plain = module.eval()(query, keys, valid[:1])[0]
        return module.train()(query.expand(n, -1), keys.expand(n, -1, -1), valid), plain

    def test_not_renormalised_keeps_the_expectation(self):
        found, plain = self.weights(renormalise=False)
        kept = found > 0
        torch.testing.assert_close(found[kept], (2 * plain).expand_as(found)[kept])
        assert kept.float().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.04)
        torch.testing.assert_close(found.mean(0), plain, rtol=0.08, atol=0.0)
        assert (found.sum(1) == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)

    def test_renormalised_rows_sum_to_one_and_fall_back_where_all_were_dropped(self):
        found, plain = self.weights(renormalise=True)
        torch.testing.assert_close(found.sum(1), torch.ones(len(found)))
        both = torch.isclose(found, plain).all(1).float().mean().item()
        only = [(found[:, column] == 1).float().mean().item() for column in (0, 1)]
        assert both == pytest.approx(0.5, abs=0.04)  # none dropped, or all
        assert only == pytest.approx([0.25, 0.25], abs=0.04)

    @pytest.mark.parametrize("renormalise", [True, False])
    def test_no_dropout_in_evaluation_or_at_zero(self, renormalise):
        (query, keys), valid = draw()
        dropping = made("gat_v1", 0.5, renormalise)
        plain = made("gat_v1", 0.0, renormalise).train()(query, keys, valid)
        assert torch.equal(dropping.eval()(query, keys, valid), plain)
        assert not torch.equal(dropping.train()(query, keys, valid), plain)

    def test_a_single_neighbour_always_has_weight_one(self):
        (query, keys), _ = draw(300, 1)
        valid = torch.ones(300, 1, dtype=torch.bool)
        assert (made("gat_v1", 0.5).train()(query, keys, valid) == 1).all()


def test_no_row_gives_a_differentiable_nothing():
    module = made("gat_v1")
    empty = torch.zeros(0, 3, dtype=torch.bool)
    found = module(torch.zeros(0, TEXT), torch.zeros(0, 3, TEXT), empty)
    found.sum().backward()
    assert found.shape == (0, 3)
    assert (module.project.grad == 0).all()


def test_uniform_weights():
    valid = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    assert uniform_weights(valid).tolist() == [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0]]
