import numpy as np
import pytest

from llmrec.errors import DataError, ProtocolError
from llmrec.signatures.attribution import take_positions, token_effects
from llmrec.signatures.baselines import make_baseline
from llmrec.signatures.cross_fit import cross_fit, fold_of_group
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.attribution import occlusion
from llmrec.signatures.records import SignatureSet
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture(scope="module")
def signatures():
    records, labels = labelled_signatures(120, seed=0, lengths=(2, 6))
    return SignatureSet.of(records, labels, groups=[f"g{i // 2}" for i in range(120)])


class Remembers:
    """Knows the labels of what it learnt, by the records themselves; 0.5 for the rest."""

    def fit(self, records, labels, groups=None):
        self.known = {id(r): float(label) for r, label in zip(records, labels, strict=True)}
        return self

    def predict_risk(self, records):
        return np.array([self.known.get(id(r), 0.5) for r in records], dtype=np.float32)


def test_no_record_is_judged_by_who_learnt_from_it(signatures):
    parts = fold_of_group(signatures.groups, 4)
    found = cross_fit(Remembers, signatures, parts)
    assert (found.risks == 0.5).all()
    assert len(found.scorers) == 4
    others = found.scorer_of(0).predict_risk(signatures.records)
    assert (others != 0.5).sum() == sum(part != parts[0] for part in parts)


def test_folds_tear_no_group_and_are_even(signatures):
    parts = np.array(fold_of_group(signatures.groups, 5))
    assert (parts[::2] == parts[1::2]).all()
    assert np.bincount(parts).tolist() == [24] * 5
    assert fold_of_group(signatures.groups, 5, seed=1) != parts.tolist()


def test_torn_groups_and_single_parts_are_refused(signatures):
    with pytest.raises(ProtocolError, match="'g0' is in part 0 and in part 1"):
        cross_fit(Remembers, signatures, [i % 2 for i in range(120)])
    with pytest.raises(DataError, match="in one part"):
        cross_fit(Remembers, signatures, [0] * 120)


def test_the_effect_of_a_token_is_the_risk_without_it(signatures):
    scorer = make_baseline("logistic").fit(signatures.records, signatures.labels)
    record = next(r for r in signatures.records if len(r) > 3)
    found = token_effects(scorer, record)
    for place in range(len(record)):
        rest = take_positions(record, np.arange(len(record)) != place)
        assert len(rest) == len(record) - 1
        change = scorer.predict_risk([record])[0] - scorer.predict_risk([rest])[0]
        assert found[place] == pytest.approx(change, abs=1e-6)


def test_positions_are_taken_out_of_every_column(signatures):
    record = next(r for r in signatures.records if len(r) > 3)
    kept = np.arange(len(record)) % 2 == 0
    found = take_positions(record, kept)
    np.testing.assert_array_equal(found.topk_logprobs, record.topk_logprobs[kept])
    np.testing.assert_array_equal(found.row_mean, record.row_mean[kept])
    assert found.tokens == record.tokens[::2]
    assert found.text == "".join(found.tokens)


def test_los_net_hides_instead(signatures):
    model = LOSNet(k=8, hidden=16, training={"epochs": 1})
    model.fit(signatures.records, signatures.labels)
    record = signatures.records[0]
    np.testing.assert_array_equal(token_effects(model, record), occlusion(model, record))
