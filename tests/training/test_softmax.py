"""The losses over catalogues against dense matrices, hand arithmetic and averages of draws."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmrec.recommenders.sasrec.windows import NegativeSampler
from llmrec.training import softmax
from llmrec.training.softmax import full_softmax_loss, sampled_softmax_loss


def case(positions=50, items=37, dim=6, scale=1.0, dtype=torch.float32):
    torch.manual_seed(0)
    states = (scale * torch.randn(positions, dim)).to(dtype).requires_grad_()
    vectors = torch.randn(items, dim).to(dtype).requires_grad_()
    return states, vectors, torch.randint(0, items, (positions,))


def dense(states, vectors, targets):
    left, right = (t.detach().clone().requires_grad_() for t in (states, vectors))
    loss = functional.cross_entropy(left @ right.T, targets, reduction="sum")
    loss.backward()
    return loss.detach(), left.grad, right.grad


class TestFull:
    @pytest.mark.parametrize("chunk", [1, 37 * 16, 37 * 17, 37 * 25, 37 * 49, 37 * 50, 1 << 22])
    def test_loss_and_gradients_are_those_of_the_dense_matrix(self, monkeypatch, chunk):
        monkeypatch.setattr(softmax, "_CPU_CHUNK_VALUES", chunk)
        states, vectors, targets = case()
        loss = full_softmax_loss(states, vectors, targets)
        (loss * 0.3).backward()
        expected, state_grad, item_grad = dense(states, vectors, targets)
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(states.grad, 0.3 * state_grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(vectors.grad, 0.3 * item_grad, rtol=1e-4, atol=1e-6)

    def test_more_items_than_a_chunk_holds(self, monkeypatch):
        monkeypatch.setattr(softmax, "_CPU_CHUNK_VALUES", 100)
        states, vectors, targets = case(positions=33, items=900)
        loss = full_softmax_loss(states, vectors, targets)
        loss.backward()
        expected, state_grad, item_grad = dense(states, vectors, targets)
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(states.grad, state_grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(vectors.grad, item_grad, rtol=1e-4, atol=1e-6)

    def test_double_precision(self):
        states, vectors, targets = case(dtype=torch.float64)
        loss = full_softmax_loss(states, vectors, targets, torch.float64)
        loss.backward()
        expected, state_grad, item_grad = dense(states, vectors, targets)
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(states.grad, state_grad, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(vectors.grad, item_grad, rtol=1e-10, atol=1e-12)

    def test_bf16_products_stay_close(self):
        states, vectors, targets = case(positions=200)
        loss = full_softmax_loss(states, vectors, targets, torch.bfloat16)
        loss.backward()
        expected, state_grad, item_grad = dense(states, vectors, targets)
        assert loss.dtype == states.grad.dtype == vectors.grad.dtype == torch.float32
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-2, atol=0)
        for found, wanted in ((states.grad, state_grad), (vectors.grad, item_grad)):
            assert (found - wanted).norm() < 0.02 * wanted.norm()

    def test_only_one_side_is_learnt(self):
        states, vectors, targets = case()
        _, state_grad, item_grad = dense(states, vectors, targets)
        full_softmax_loss(states, vectors.detach(), targets).backward()
        full_softmax_loss(states.detach(), vectors, targets).backward()
        torch.testing.assert_close(states.grad, state_grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(vectors.grad, item_grad, rtol=1e-4, atol=1e-6)

    def test_without_gradients(self):
        states, vectors, targets = case()
        expected, *_ = dense(states, vectors, targets)
        with torch.no_grad():
            torch.testing.assert_close(full_softmax_loss(states, vectors, targets), expected)

    def test_inputs_are_left_alone(self):
        states, vectors, targets = case()
        before = states.detach().clone(), vectors.detach().clone(), targets.clone()
        full_softmax_loss(states, vectors, targets).backward()
        for found, kept in zip((states, vectors, targets), before, strict=True):
            assert torch.equal(found.detach(), kept)

    def test_hopeless_targets_keep_a_finite_loss_and_the_exact_gradient(self):
        states, vectors, targets = case(scale=60.0)
        loss = full_softmax_loss(states, vectors, targets)
        loss.backward()
        assert math.isfinite(loss.item())
        _, state_grad, _ = dense(states, vectors, targets)
        torch.testing.assert_close(states.grad, state_grad, rtol=1e-3, atol=1e-4)

    def test_values_that_are_not_numbers_stay_visible(self):
        states, vectors, targets = case()
        with torch.no_grad():
            states[3] = torch.nan
        assert math.isnan(full_softmax_loss(states, vectors, targets).item())


class TestSampled:
    def test_written_out(self):
        # logits of the state: items 0 to 3 -> 1, 2, 3, -1; target 1; negatives 0, 3, 3
        states = torch.tensor([[1.0, 0.0]])
        vectors = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [-1.0, 5.0]])
        negatives = torch.tensor([0, 3, 3])
        loss = sampled_softmax_loss(states, vectors, torch.tensor([1]), negatives)
        expected = math.log(math.exp(2) + math.exp(1) + 2 * math.exp(-1)) - 2
        assert loss.item() == pytest.approx(expected, rel=1e-6)

        log_expected = torch.tensor([0.7, -0.2, -0.2])
        loss = sampled_softmax_loss(states, vectors, torch.tensor([1]), negatives, log_expected)
        expected = math.log(math.exp(2) + math.exp(1 - 0.7) + 2 * math.exp(-1 + 0.2)) - 2
        assert loss.item() == pytest.approx(expected, rel=1e-6)

    def test_accidental_hits_are_masked_row_by_row(self):
        states, vectors, _ = case(positions=2, items=4)
        targets, negatives = torch.tensor([0, 2]), torch.tensor([0, 2, 2, 3])
        loss = sampled_softmax_loss(states, vectors, targets, negatives)
        first = sampled_softmax_loss(states[:1], vectors, targets[:1], torch.tensor([2, 2, 3]))
        second = sampled_softmax_loss(states[1:], vectors, targets[1:], torch.tensor([0, 3]))
        torch.testing.assert_close(loss, first + second)

    def test_only_hits_give_no_loss(self):
        states, vectors, _ = case(positions=1)
        targets = torch.tensor([5])
        loss = sampled_softmax_loss(states, vectors, targets, torch.tensor([5, 5]))
        loss.backward()
        assert loss.item() == 0
        assert torch.isfinite(states.grad).all()
        assert torch.isfinite(vectors.grad).all()

    def test_every_other_item_once_is_the_full_softmax(self):
        """Drawing the whole catalogue is the dense cross-entropy, gradients included."""
        states, vectors, targets = case(positions=9)
        loss = sampled_softmax_loss(states, vectors, targets, torch.arange(37))
        loss.backward()
        expected, state_grad, item_grad = dense(states, vectors, targets)
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(states.grad, state_grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(vectors.grad, item_grad, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("kind", ["uniform", "popularity"])
    def test_corrected_denominator_is_unbiased(self, kind):
        """Over many draws, exp(target) + sum exp(corrected) is the full softmax's denominator."""
        n_items, n_draws = 12, 4
        torch.manual_seed(1)
        state, vectors = torch.randn(1, 3), torch.randn(n_items, 3)
        target = torch.tensor([3])
        counts = np.ones(n_items) if kind == "uniform" else np.arange(1.0, n_items + 1) ** 2
        sampler = NegativeSampler(n_draws, counts / counts.sum())
        rng = np.random.default_rng(2)
        positive = (state @ vectors[target].T).item()

        def denominator(corrected):
            codes = sampler.draw(rng)
            log_expected = sampler.log_expected(codes) if corrected else None
            loss = sampled_softmax_loss(state, vectors, target, codes - 1, log_expected)
            return math.exp(loss.item() + positive)

        corrected = [denominator(True) for _ in range(2500)]
        uncorrected = [denominator(False) for _ in range(300)]
        full = torch.exp(state @ vectors.T).sum().item()
        error = np.std(corrected) / len(corrected) ** 0.5
        assert abs(np.mean(corrected) - full) < 4 * error
        assert 4 * error < 0.1 * full  # or the line above would prove little
        assert abs(np.mean(uncorrected) - full) > 10 * error


class TestSampler:
    def test_draws_follow_the_probabilities(self):
        probabilities = np.array([0.5, 0.2, 0.0, 0.3])
        with np.errstate(divide="ignore"):
            sampler = NegativeSampler(20_000, probabilities)
        codes = sampler.draw(np.random.default_rng(0)).numpy()
        shares = np.bincount(codes, minlength=5)[1:] / codes.size
        np.testing.assert_allclose(shares, probabilities, atol=0.015)
        assert shares[2] == 0

    def test_expected_number_of_draws(self):
        sampler = NegativeSampler(8, np.array([0.5, 0.25, 0.25]))
        found = sampler.log_expected(torch.tensor([1, 3])).exp()
        torch.testing.assert_close(found, torch.tensor([4.0, 2.0]))

    def test_rounding_of_the_probabilities_never_draws_beyond_the_catalogue(self):
        class AlmostOne:
            def random(self, n):
                return np.full(n, np.nextafter(1.0, 0.0))

        sampler = NegativeSampler(3, np.full(7, 1 / 7))
        assert sampler.draw(AlmostOne()).tolist() == [7, 7, 7]
