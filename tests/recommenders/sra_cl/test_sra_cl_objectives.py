"""What each objective pairs with what, on a tiny encoder, against brute force."""

from collections import Counter

import numpy as np
import pytest
import torch
from small_sra_cl import (
    N_ITEMS,
    SMALL,
    encode_one,
    encoder_of,
    histories_of,
    prefix,
    random_histories,
    step_of,
)

from llmrec.recommenders.sasrec.windows import SequenceWindows
from llmrec.recommenders.sra_cl.bank import StateBank
from llmrec.recommenders.sra_cl.batches import ContrastWindows
from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.contrast import info_nce
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.intents import CoarseIntent, FineIntent
from llmrec.recommenders.sra_cl.inter_user import InterUser
from llmrec.recommenders.sra_cl.intra_user import IntraUser, Substitution
from llmrec.recommenders.sra_cl.neighbor_states import BankStates
from llmrec.recommenders.sra_cl.objectives import make_objectives
from llmrec.recommenders.sra_cl.semantics import Semantics
from llmrec.recommenders.sra_cl.synthesis import Synthesis

WHEN = (1.0, 0, 1.0)  # weight, first epoch, temperature
TRAIN = random_histories([5, 2, 9, 3, 1, 6], seed=3)


def alike(train, events, left, right):
    """Whether two anchors are of one user or have the same next item."""
    return bool(
        events.users[left] == events.users[right] or train.items[left + 1] == train.items[right + 1]
    )


def test_anchors_are_positions_that_carry_loss_and_know_user_target_and_mask():
    events = TrainingEvents.of(TRAIN)
    step, _ = step_of(TRAIN, encoder_of())
    last = TRAIN.offsets[1:] - 1
    rows = step.anchors.events.numpy()
    assert sorted(rows) == sorted(set(range(len(events))) - set(last.tolist()))
    np.testing.assert_array_equal(step.anchors.targets, TRAIN.items[rows + 1])
    np.testing.assert_array_equal(step.batch.events.numpy()[step.anchors.at], rows)
    expected = [[alike(TRAIN, events, a, b) for b in rows] for a in rows]
    np.testing.assert_array_equal(step.mask, expected)
    assert 0 < np.mean(expected) < 1


def test_a_bound_on_anchors_draws_them_without_bias():
    counts, rng = Counter(), np.random.default_rng(0)
    source = ContrastWindows(SequenceWindows(TRAIN, 6), TrainingEvents.of(TRAIN), (), 5)
    for _ in range(300):
        anchors = source.batch(np.arange(len(source)), rng).anchors
        assert len(set(anchors.events.tolist())) == 5
        counts.update(anchors.events.tolist())
    expected = 300 * 5 / 20  # of 20 positions
    assert set(counts) == set(step_of(TRAIN, encoder_of())[0].anchors.events.tolist())
    assert all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())


class TestSubstitution:
    TABLE = np.array([[1, 2, 3], [0, -1, -1], [-1, -1, -1], [0, 2, -1]], dtype=np.int32)

    def replace(self, probability, n=20_000, seed=0):
        items = np.random.default_rng(9).integers(1, 5, n)
        replaced = Substitution(self.TABLE, probability)(items, np.random.default_rng(seed))
        return items, replaced

    def test_only_by_neighbours_each_as_often_as_another(self):
        items, replaced = self.replace(1.0)
        for item, expected in {1: {2, 3, 4}, 2: {1}, 3: {3}, 4: {1, 3}}.items():
            counts = Counter(replaced[items == item].tolist())
            assert set(counts) == expected
            share = 1 / len(expected)
            found = np.array(list(counts.values())) / counts.total()
            np.testing.assert_allclose(found, share, atol=0.03)

    @pytest.mark.parametrize("probability", [0.2, 0.7])
    def test_at_the_rate_asked_for(self, probability):
        items, replaced = self.replace(probability)
        changed = items != replaced
        assert not changed[items == 3].any()  # no neighbour
        assert changed[items != 3].mean() == pytest.approx(probability, abs=0.02)

    def test_never_at_probability_zero_and_the_same_at_one_seed(self):
        items, replaced = self.replace(0.0)
        np.testing.assert_array_equal(items, replaced)
        np.testing.assert_array_equal(self.replace(0.5)[1], self.replace(0.5)[1])
        assert (self.replace(0.5)[1] != self.replace(0.5, seed=1)[1]).any()


class TestInterUser:
    """Positives are blends of the neighbours' states."""

    @pytest.fixture
    def world(self):
        rng = np.random.default_rng(7)
        n = TRAIN.items.size
        neighbors = rng.integers(0, n, (n, 3)).astype(np.int32)
        neighbors[rng.random((n, 3)) < 0.3] = -1
        neighbors[rng.choice(n, 5, replace=False)] = -1
        vectors = rng.normal(size=(n, 4)).astype(np.float16)
        bank = StateBank(n, SMALL["dim"])
        bank.refresh(torch.from_numpy(rng.normal(size=(n, SMALL["dim"])).astype(np.float32)))
        return neighbors, vectors, bank

    def objective(self, world, synthesis, again=False):
        neighbors, vectors, bank = world
        return InterUser(neighbors, vectors, BankStates(bank), synthesis, again, *WHEN)

    @pytest.mark.parametrize("learned", [True, False])
    def test_pairs(self, world, learned):
        neighbors, vectors, bank = world
        torch.manual_seed(2)
        synthesis = Synthesis(4, 8, "gat_v1", 0.0, True) if learned else None
        objective = self.objective(world, synthesis)
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        contrast = objective(step, drawn[0])
        rows = [row for row in step.anchors.events.tolist() if (neighbors[row] >= 0).any()]
        assert len(rows) < len(step.anchors)
        assert torch.equal(contrast.anchors, step.anchor_states[drawn[0]["chosen"]])
        for place, row in enumerate(rows):
            used = [j for j in neighbors[row] if j >= 0]
            weights = torch.full((len(used),), 1 / len(used))
            if learned:
                text = torch.from_numpy(vectors.astype(np.float32))
                every = torch.ones(1, len(used), dtype=torch.bool)
                weights = synthesis(text[[row]], text[used][None], every)[0]
            blend = sum(w * bank.states[j] for w, j in zip(weights, used, strict=True))
            torch.testing.assert_close(contrast.positives[place], blend)
        events = TrainingEvents.of(TRAIN)
        expected = [[alike(TRAIN, events, a, b) for b in rows] for a in rows]
        np.testing.assert_array_equal(contrast.alike, expected)

    def test_the_bank_passes_no_gradient_and_synthesis_learns(self, world):
        synthesis = Synthesis(4, 8, "gat_v1", 0.0, True)
        objective = self.objective(world, synthesis)
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        contrast = objective(step, drawn[0])
        through_positives = torch.autograd.grad(
            contrast.positives.sum(), list(step.encoder.parameters()), allow_unused=True,
            retain_graph=True,
        )  # fmt: skip
        assert through_positives.count(None) == len(through_positives)
        info_nce(contrast).backward()
        assert synthesis.project.grad.abs().sum() > 0
        assert step.encoder.items.weight.grad.abs().sum() > 0
        assert world[2].states.grad is None

    def test_anchors_are_encoded_again_with_another_dropout(self, world):
        encoder = encoder_of(dropout=0.4).train()
        torch.manual_seed(5)
        again = self.objective(world, None, again=True)
        step, drawn = step_of(TRAIN, encoder, [again])
        found = again(step, drawn[0]).anchors
        assert not torch.equal(found, step.anchor_states[drawn[0]["chosen"]])
        encoder.eval()
        step, drawn = step_of(TRAIN, encoder, [again])
        expected = step.anchor_states[drawn[0]["chosen"]]
        torch.testing.assert_close(again(step, drawn[0]).anchors, expected)

    def test_no_anchor_with_a_neighbour(self, world):
        neighbors, vectors, bank = world
        synthesis = Synthesis(4, 8, "gat_v2", 0.5, True)
        objective = self.objective((np.full_like(neighbors, -1), vectors, bank), synthesis)
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        loss = info_nce(objective(step, drawn[0]))
        loss.backward()
        assert loss.item() == 0
        assert (synthesis.project.grad == 0).all()  # a gradient, though of zeros


class TestExactMode:
    """Without a bank neighbours are encoded from their own sequences, with gradient."""

    def objective(self, n_neighbors=2):
        rng = np.random.default_rng(2)
        n = TRAIN.items.size
        neighbors = rng.integers(0, n, (n, n_neighbors)).astype(np.int32)
        semantics = Semantics(
            rng.normal(size=(n, 4)).astype(np.float16), neighbors, np.empty((0, 0), np.int32)
        )
        config = SRACLConfig(
            **SMALL, beta=0, neighbor_bank="none", synthesis="uniform", warmup_epochs=0
        )
        (made,) = make_objectives(config, TrainingEvents.of(TRAIN), semantics, None)
        return made, neighbors

    def test_states_of_neighbours_equal_encoding_each_alone(self):
        objective, neighbors = self.objective()
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        contrast = objective(step, drawn[0])
        for place, row in enumerate(step.anchors.events.tolist()):
            alone = [
                encode_one(step.encoder, prefix(TRAIN, j, SMALL["max_length"]))[-1]
                for j in neighbors[row]
            ]
            expected = torch.stack(alone).mean(0)
            torch.testing.assert_close(contrast.positives[place], expected, rtol=1e-4, atol=1e-5)

    def test_gradient_reaches_the_encoder_through_neighbours(self):
        objective, _ = self.objective()
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        (objective(step, drawn[0]).positives ** 3).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in step.encoder.blocks.parameters() if p.ndim > 1)


class TestIntraUser:
    TABLE = np.array([[(j + 1) % N_ITEMS, (j + 5) % N_ITEMS] for j in range(N_ITEMS)], np.int32)

    @pytest.mark.parametrize("views", [1, 2])
    def test_pairs(self, views):
        objective = IntraUser(Substitution(self.TABLE, 0.5), views, *WHEN)
        short = random_histories([5, 2, 6, 3], seed=4)  # one window per user
        step, drawn = step_of(short, encoder_of(), [objective])
        contrast = objective(step, drawn[0])
        states = []
        for view in drawn[0].values():
            assert 0.2 < (view != step.batch.items).double().mean() < 0.8
            by_row = view.split((short.lengths - 1).tolist())
            states.append(torch.cat([encode_one(step.encoder, v.tolist()) for v in by_row]))
        left = states[0] if views == 2 else step.states
        torch.testing.assert_close(contrast.anchors, left, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(contrast.positives, states[-1], rtol=1e-4, atol=1e-5)
        assert len(drawn[0]) == views
        assert views == 1 or not torch.equal(*drawn[0].values())
        assert torch.equal(contrast.alike, step.mask)

    def test_the_gradient_reaches_the_encoder_through_the_view(self):
        objective = IntraUser(Substitution(self.TABLE, 0.5), 1, *WHEN)
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        (objective(step, drawn[0]).positives ** 3).sum().backward()
        assert step.encoder.items.weight.grad.abs().sum() > 0


class TestCoarseIntent:
    # targets by user: 0: 2 3 2, 1: 2 4, 2: 5, 3: 3 3; item 4 and item 5 follow one user's only
    ROWS = ([1, 2, 3, 2], [6, 2, 4], [2, 5], [1, 3, 3])

    def test_partners_have_the_same_target_and_another_user(self):
        train = histories_of(self.ROWS)
        events = TrainingEvents.of(train)
        bank = StateBank(len(events), 8)
        bank.refresh(states := torch.randn(len(events), 8))
        objective = CoarseIntent(events, BankStates(bank), *WHEN)
        seen = set()
        for seed in range(40):
            step, drawn = step_of(train, encoder_of(), [objective], seed=seed)
            contrast = objective(step, drawn[0])
            chosen, partners = drawn[0]["chosen"], drawn[0]["rows"].numpy()
            assert torch.equal(contrast.positives, states[partners])
            assert torch.equal(contrast.anchors, step.anchor_states[chosen])
            assert torch.equal(contrast.alike, step.mask[chosen][:, chosen])
            rows = step.anchors.events[chosen].numpy()
            assert (events.targets[rows] == events.targets[partners]).all()
            assert (events.users[rows] != events.users[partners]).all()
            seen |= set(zip(rows.tolist(), partners.tolist(), strict=True))
        every = range(len(events))
        expected = {
            (a, b)
            for a in every
            for b in every
            if events.targets[a] == events.targets[b] > 0 and events.users[a] != events.users[b]
        }
        assert seen == expected  # each possible partner is drawn at some time, no other

    def test_nobody_shares_a_next_item(self):
        train = histories_of([[1, 2], [3, 4], [5, 6, 6]])
        objective = CoarseIntent(TrainingEvents.of(train), BankStates(StateBank(7, 8)), *WHEN)
        step, drawn = step_of(train, encoder_of(), [objective])
        assert drawn[0]["chosen"].numel() == drawn[0]["rows"].numel() == 0
        assert info_nce(objective(step, drawn[0])).item() == 0


class TestFineIntent:
    def fitted(self, mask=True, seed=3):
        objective = FineIntent(TRAIN.items.size, 8, 4, seed, mask, *WHEN)
        states = torch.randn(TRAIN.items.size, 8, generator=torch.manual_seed(1))
        objective.start_epoch(states)
        return objective, states

    def test_centroids_are_those_of_kmeans_and_each_row_has_the_nearest(self):
        from sklearn.cluster import KMeans

        objective, states = self.fitted()
        start = states[np.random.default_rng([3, 37]).choice(len(states), 4, replace=False)]
        means = KMeans(4, init=start.numpy(), n_init=1, algorithm="lloyd").fit(states.numpy())
        np.testing.assert_allclose(objective.centroids, means.cluster_centers_, rtol=1e-5)
        nearest = torch.cdist(states, objective.centroids).argmin(1)
        assert torch.equal(objective.assigned, nearest)
        for cluster in range(4):
            torch.testing.assert_close(
                objective.centroids[cluster], states[nearest == cluster].mean(0)
            )

    @pytest.mark.parametrize("mask", [True, False])
    def test_pairs(self, mask):
        objective, _ = self.fitted(mask)
        step, drawn = step_of(TRAIN, encoder_of(), [objective])
        contrast = objective(step, drawn[0])
        clusters = [int(objective.assigned[row]) for row in step.anchors.events]
        assert torch.equal(contrast.anchors, step.anchor_states)
        assert torch.equal(contrast.positives, objective.centroids[clusters])
        assert not contrast.positives.requires_grad
        if mask:
            np.testing.assert_array_equal(
                contrast.alike, [[a == b for b in clusters] for a in clusters]
            )
        else:
            assert contrast.alike is None

    def test_later_epochs_begin_with_the_centroids_of_the_one_before(self):
        objective, states = self.fitted()
        before = objective.centroids.clone()
        objective.start_epoch(states)
        assert torch.equal(objective.centroids, before)  # converged: nothing moves them
        objective.start_epoch(states * 1.01)
        torch.testing.assert_close(objective.centroids, before * 1.01)

    def test_a_centroid_without_rows_stays_where_it_is(self):
        objective, states = self.fitted()
        far = torch.full((8,), 1e3)
        objective.centroids[2] = far
        objective.start_epoch(states)
        assert torch.equal(objective.centroids[2], far)
        assert (objective.assigned != 2).all()

    def test_the_seed_decides(self):
        same, other = self.fitted()[0], self.fitted(seed=4)[0]
        assert torch.equal(same.centroids, self.fitted()[0].centroids)
        assert not torch.equal(same.centroids, other.centroids)


def test_one_objective_per_weight():
    config = SRACLConfig(**SMALL, alpha=0.1, beta=0.2, coarse_intent=0.3, fine_intent=0.4)
    n = TRAIN.items.size
    neighbors = np.zeros((n, 2), np.int32)
    semantics = Semantics(np.zeros((n, 4), np.float16), neighbors, neighbors[:N_ITEMS])
    events, bank = TrainingEvents.of(TRAIN), StateBank(n, 8)
    made = make_objectives(config, events, semantics, bank)
    assert [(each.name, each.weight) for each in made] == [
        ("inter_user", 0.1), ("intra_user", 0.2), ("coarse_intent", 0.3), ("fine_intent", 0.4)
    ]  # fmt: skip
    assert {each.first_epoch for each in made} == {config.warmup_epochs}
    none = config.model_copy(update={"alpha": 0, "beta": 0, "coarse_intent": 0, "fine_intent": 0})
    assert make_objectives(none, events, None, None) == []
