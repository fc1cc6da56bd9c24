"""LOS-Net on another source: never worse than the plain score it is weighed against."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from llmrec.contracts import RiskScorer
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.signatures.baselines import score_records
from llmrec.signatures.detectors import load_detector
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.adaptation import MANIFEST, AdaptedLOSNet
from llmrec.testing.signatures import labelled_signatures

SMALL = {"k": 6, "hidden": 16, "training": {"epochs": 4, "learning_rate": 3e-3, "batch_size": 32}}
OTHER = {"fingerprint": {"tokenizer": "another"}}


@pytest.fixture(scope="module")
def source():
    return LOSNet(**SMALL).fit(*labelled_signatures(300, seed=0, k=6))


@pytest.fixture(scope="module")
def target():
    return labelled_signatures(200, seed=1, k=6, **OTHER)


@pytest.fixture(scope="module")
def adapted(source, target):
    return AdaptedLOSNet(source, folds=3, epochs=2).fit(*target)


def test_it_is_a_scorer_of_the_new_source_alone(adapted, source, target):
    assert isinstance(adapted, RiskScorer)
    records, labels = target
    risk = adapted.predict_risk(records)
    assert ((risk > 0) & (risk < 1)).all()
    assert roc_auc_score(labels, risk) > 0.6
    assert adapted.predict_logit([]).shape == (0,)
    old, _ = labelled_signatures(5, seed=2, k=6)
    with pytest.raises(DataError, match="tokenizer"):
        adapted.predict_risk(old)
    source.predict_risk(old)  # the model it came from has not changed
    again = AdaptedLOSNet(source, folds=3, epochs=2).fit(*target)
    np.testing.assert_array_equal(again.predict_logit(records), adapted.predict_logit(records))


def test_a_network_that_has_gone_astray_leaves_the_plain_score(target):
    """It has learnt that sure answers are wrong, and is hardly fine-tuned."""
    records, labels = labelled_signatures(300, seed=0, k=6)
    astray = LOSNet(**SMALL).fit(records, 1 - labels)
    adapted = AdaptedLOSNet(astray, folds=3, epochs=1, learning_rate=1e-8).fit(*target)
    later, truth = labelled_signatures(300, seed=5, k=6, **OTHER)
    plain = score_records("mean_logprob", later)
    assert adapted.weighing.weight == 0
    assert spearmanr(adapted.predict_logit(later), plain).statistic == pytest.approx(1)
    tuned = roc_auc_score(truth, adapted.tuned.predict_logit(later))
    assert tuned < 0.5 < roc_auc_score(truth, adapted.predict_logit(later))


def test_a_network_that_knows_more_is_used(target):
    """The plain score is a constant here, since all answers have one length."""
    records, labels = labelled_signatures(600, seed=0, k=6, lengths=(4, 4))
    model = LOSNet(**{**SMALL, "training": {**SMALL["training"], "epochs": 12}})
    few = labelled_signatures(300, seed=1, k=6, lengths=(4, 4), **OTHER)
    adapted = AdaptedLOSNet(model.fit(records, labels), "length", folds=3, epochs=2).fit(*few)
    later, truth = labelled_signatures(300, seed=6, k=6, lengths=(4, 4), **OTHER)
    assert adapted.weighing.weight > 0
    value = roc_auc_score(truth, adapted.predict_logit(later))
    assert value == pytest.approx(roc_auc_score(truth, adapted.tuned.predict_logit(later)))
    assert value > 0.6


def test_the_plain_score_of_a_member_is_turned_round():
    records, labels = labelled_signatures(200, seed=3, k=6)
    model = LOSNet(**SMALL, task="membership").fit(records, labels)
    few, few_labels = labelled_signatures(120, seed=4, k=6, **OTHER)
    adapted = AdaptedLOSNet(model, folds=2, epochs=1).fit(few, few_labels)
    np.testing.assert_allclose(adapted._plain(few), -score_records("mean_logprob", few))


def test_groups_stay_together_in_the_folds(source, target, monkeypatch):
    records, labels = target
    groups = [i // 10 for i in range(len(records))]
    place = {id(record): i for i, record in enumerate(records)}
    seen = []

    def watched(self, some, given, **options):
        seen.append({groups[place[id(record)]] for record in some})
        return original(self, some, given, **options)

    original = LOSNet.fine_tune
    monkeypatch.setattr(LOSNet, "fine_tune", watched)
    AdaptedLOSNet(source, folds=4, epochs=1).fit(records, labels, groups)
    *folds, whole = seen
    assert len(folds) == 4
    assert whole == set(groups)
    # a group is missing in one fold and whole in the others: none is torn
    assert sorted(group for fold in folds for group in whole - fold) == sorted(whole)


def test_saved_ones_predict_the_same_and_changed_ones_are_refused(adapted, target, tmp_path):
    folder = tmp_path / "adapted"
    adapted.save_pretrained(folder)
    again = load_detector(folder)
    assert isinstance(again, AdaptedLOSNet)
    records, _ = target
    np.testing.assert_array_equal(again.predict_logit(records), adapted.predict_logit(records))
    assert again.fine_tune == {"epochs": 2}
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 9}))
    with pytest.raises(ArtifactError, match="format 9"):
        AdaptedLOSNet.from_pretrained(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / "tuned" / "log.jsonl").write_text("changed")
    with pytest.raises(ArtifactError, match="was changed"):
        AdaptedLOSNet.from_pretrained(folder)


def test_what_is_not_ready_says_so(source, tmp_path):
    with pytest.raises(ConfigError, match="not fitted"):
        AdaptedLOSNet(source).predict_risk([])
    with pytest.raises(ConfigError, match="folds is 1"):
        AdaptedLOSNet(source, folds=1)
    with pytest.raises(ConfigError, match="unknown score"):
        AdaptedLOSNet(source, "certainty").fit(*labelled_signatures(20, seed=0, k=6))
    with pytest.raises(ArtifactError, match="not a saved AdaptedLOSNet"):
        AdaptedLOSNet.from_pretrained(tmp_path)
