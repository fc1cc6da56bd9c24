"""Calibrated on groups that the judging model has not learnt from, and never on the tested ones."""

import numpy as np
import pytest

from llmrec.evaluation.metrics.pairs import ece
from llmrec.signatures.comparison import calibrating, compare_methods
from llmrec.signatures.comparison.calibrating import calibrated_ece
from llmrec.signatures.comparison.methods import MethodScores, Parts, run_method
from llmrec.signatures.decision.calibration import fit_calibration
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import split_groups
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture(scope="module")
def world():
    records, labels = labelled_signatures(320, seed=2, k=5)
    return SignatureSet.of(records, labels, [f"g{i % 40}" for i in range(320)])


@pytest.fixture(scope="module")
def split(world):
    return split_groups(world.groups)


@pytest.fixture(scope="module")
def parts(world, split):
    return Parts(
        **{
            part: world.take(split.rows(part, world.groups))
            for part in ("learn", "valid", "calibrate", "test")
        }
    )


class Memory:
    """Says 1 about records it has learnt from or chosen by, 0 about others."""

    def __init__(self, log):
        self.log, self.known = log, set()

    def fit(self, records, labels, groups=None, validation=None):
        assert len(records) == len(labels) == len(groups)
        self.log.append(set(groups))
        self.known = {id(record) for record in [*records, *validation[0]]}
        return self

    def predict_logit(self, records):
        return np.array([float(id(record) in self.known) for record in records])


def test_no_model_judges_a_group_that_it_learnt_from(parts):
    log = []
    found = run_method(lambda seed: Memory(log), "learnt", parts, (0, 1), folds=4)
    assert found.learn.shape == (2, len(parts.learn))
    assert (found.learn == 0).all()
    assert (found.test == 0).all()
    assert (found.valid == 1).all()
    assert len(log) == 2 * (1 + 4)
    every = set(parts.learn.groups)
    left_out = [every - learnt for learnt in log[-4:]]
    assert set.union(*left_out) == every
    assert sum(map(len, left_out)) == len(every)
    assert all(left_out)


@pytest.mark.parametrize(("kind", "folds"), [("learnt", None), ("control", 4)])
def test_nothing_is_judged_out_of_fold_where_nobody_asks(parts, kind, folds):
    log = []
    assert run_method(lambda seed: Memory(log), kind, parts, (0,), folds=folds).learn is None
    assert len(log) == 1


def scores_of(parts, folds):
    rng = np.random.default_rng(0)
    found = {
        name: rng.standard_normal((2, len(part))) + part.labels
        for name, part in vars(parts).items()
    }
    learn = found.pop("learn")
    return MethodScores("learnt", learn if folds else None, **found, seconds=0.0, models=())


@pytest.mark.parametrize(("least", "method"), [(1000, "platt"), (100, "isotonic")])
def test_calibrated_on_everything_but_the_test_part(parts, monkeypatch, least, method):
    monkeypatch.setattr(calibrating, "LEAST_FOR_STEPS", least)
    scores = scores_of(parts, folds=True)
    before = [parts.learn, parts.valid, parts.calibrate]
    labels = np.concatenate([part.labels for part in before])
    groups = [group for part in before for group in part.groups]
    sizes = {group: groups.count(group) for group in groups}
    weights = [1 / sizes[group] for group in groups]
    expected = []
    for seed in range(2):
        held = np.concatenate([scores.learn[seed], scores.valid[seed], scores.calibrate[seed]])
        calibration = fit_calibration(held, labels, method, weights)
        expected.append(ece(parts.test.labels, calibration(scores.test[seed])))
    assert calibrated_ece(parts, scores) == pytest.approx(np.mean(expected), abs=1e-6)


def test_calibrated_on_the_calibration_part_where_nothing_else_is_known(parts):
    scores = scores_of(parts, folds=False)
    expected = [
        ece(parts.test.labels, fit_calibration(held, parts.calibrate.labels)(tested))
        for held, tested in zip(scores.calibrate, scores.test, strict=True)
    ]
    assert calibrated_ece(parts, scores) == pytest.approx(np.mean(expected))


def test_many_groups_calibrate_better_than_few():
    """Groups with a shift of their own: one group is far off, all others together are not."""
    rng = np.random.default_rng(1)
    shifts = rng.normal(0, 1.0, 60)
    shifts[0] = 2.5

    def drawn(groups):
        owner = np.repeat(groups, 150)
        z = rng.standard_normal(owner.size)
        labels = rng.random(owner.size) < 1 / (1 + np.exp(-(z + shifts[owner])))
        record = labelled_signatures(1, seed=0)[0][0]
        return z[None], SignatureSet.of([record] * owner.size, labels, owner.tolist())

    names = {"calibrate": [0], "learn": range(1, 30), "valid": range(30, 40)}
    names["test"] = range(40, 60)
    found = {part: drawn(np.array(groups)) for part, groups in names.items()}
    parts = Parts(**{part: one[1] for part, one in found.items()})
    z = {part: one[0] for part, one in found.items()}
    learn = z.pop("learn")
    few, many = (
        calibrated_ece(parts, MethodScores("learnt", own, **z, seconds=0.0, models=()))
        for own in (None, learn)
    )
    assert many < few / 2


def test_a_table_with_folds_says_so(world, split):
    tables = [
        compare_methods(world, split, baselines=["logistic", "length"], draws=20, folds=folds)
        for folds in (None, 3)
    ]
    assert [table.split.calibration_folds for table in tables] == [None, 3]
    without, within = (table.figures["logistic"] for table in tables)
    assert without.auc == within.auc
    assert without.ece != within.ece
    assert tables[1].figures["length"].ece is None
