import json

import numpy as np
import pytest

from llmrec.contracts import RiskModel
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.baselines import make_baseline
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.calibrated_files import MANIFEST, SAMPLE
from llmrec.signatures.decision import selective
from llmrec.signatures.los_net import LOSNet
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture(scope="module")
def parts():
    about = {"lengths": (3, 6), "contrast": 6.0}
    return [labelled_signatures(300, seed=seed, **about) for seed in range(3)]


@pytest.fixture
def detector(parts):
    found = CalibratedDetector(make_baseline("logistic")).fit(*parts[0])
    return found.calibrate(*parts[1], groups=[i // 2 for i in range(300)])


def test_it_is_a_risk_model_whose_risks_are_probabilities(detector, parts):
    records, labels = parts[2]
    risks = detector.predict_risk(records)
    assert isinstance(detector, RiskModel)
    assert risks.dtype == np.float32
    assert ((risks >= 0) & (risks <= 1)).all()
    assert auc(labels, risks) > 0.7
    assert abs(risks.mean() - labels.mean()) < 0.08
    assert detector.predict_risk([]).shape == (0,)
    assert detector.judge([]) == []
    assert {judged.decision for judged in detector.judge(records[:5])} == {None}


def test_a_guarantee_is_that_of_the_calibration_sample_one_item_per_group(detector, parts):
    promise = detector.guarantee(0.3, 0.1)
    sample = detector.sample
    expected = selective.certify(
        sample.scores, sample.labels, 0.3, 0.1, groups=[i // 2 for i in range(300)]
    )
    assert promise.n == expected.n == 150
    assert promise.answered == expected.answered > 0
    assert detector.threshold.value == expected.threshold
    assert promise.threshold == pytest.approx(detector.risk_threshold)
    judged = detector.judge(parts[1][0])
    flagged = np.array([each.decision == "flag" for each in judged])
    np.testing.assert_array_equal(flagged, sample.scores > expected.threshold)
    risks = np.array([each.risk for each in judged])
    assert risks[~flagged].max() <= promise.threshold <= risks[flagged].min() + 1e-6


def test_what_cannot_be_certified_is_flagged_altogether(detector, parts):
    promise = detector.guarantee(0.001, 0.01)
    assert promise.threshold is None
    assert "Cannot certify" in promise.sentence
    assert {judged.decision for judged in detector.judge(parts[2][0])} == {"flag"}
    assert detector.risk_threshold == 0


def test_thresholds_by_other_rules(detector):
    rate = detector.flag_by_false_alarms(0.1)
    assert rate.false_alarms <= 0.1
    assert detector.promise is None
    assert detector.flag_by_precision(0.8).precision >= 0.8
    dear = detector.flag_by_cost(missed=10, false_alarm=1)
    cheap = detector.flag_by_cost(missed=1, false_alarm=10)
    assert dear.flagged > cheap.flagged
    assert 0 <= detector.risk_threshold <= 1


@pytest.mark.parametrize("kind", ["los_net", "baseline"])
def test_saving_keeps_scorer_calibration_and_threshold(kind, parts, tmp_path):
    scorer = make_baseline("logistic")
    if kind == "los_net":
        scorer = LOSNet(k=8, hidden=16, training={"epochs": 6, "learning_rate": 5e-3})
    detector = CalibratedDetector(scorer).fit(*parts[0]).calibrate(*parts[1], method="isotonic")
    promise = detector.guarantee(0.45, 0.2)
    detector.card["note"] = "kept"
    detector.save_pretrained(tmp_path / "d")
    again = CalibratedDetector.from_pretrained(tmp_path / "d")
    assert again.judge(parts[2][0]) == detector.judge(parts[2][0])
    assert again.promise == promise
    assert again.card == {"note": "kept"}
    assert again.guarantee(0.45, 0.2) == promise
    assert again.drift(parts[2][0]).to_json() == detector.drift(parts[2][0]).to_json()
    text = (tmp_path / "d" / MANIFEST).read_text()
    assert " t1" not in text  # nothing that records say


def test_other_sources_are_refused_even_where_the_scorer_would_not(parts):
    served = {"served_model": "a"}
    first, second = (labelled_signatures(200, s, fingerprint=served) for s in range(2))
    detector = CalibratedDetector(make_baseline("mean_logprob"))
    detector.fit(*first).calibrate(*second)
    other, _ = labelled_signatures(5, 3, fingerprint={"served_model": "b"})
    with pytest.raises(DataError, match="served_model b"):
        detector.predict_risk(other)
    with pytest.warns(UserWarning, match="served_model b"):
        detector.predict_risk(other, on_mismatch="warn")
    modes, _ = labelled_signatures(5, 3, fingerprint=served, mode="processed_logprobs")
    with pytest.raises(DataError, match="mode processed_logprobs"):
        detector.judge(modes)


def test_labels_upside_down_are_refused_or_warned_about(parts):
    records, labels = parts[1]
    detector = CalibratedDetector(make_baseline("min_logprob")).fit(*parts[0])
    with pytest.raises(DataError, match="upside down"), pytest.warns(UserWarning, match="below"):
        detector.calibrate(records, 1 - labels, method="platt")


def test_what_is_not_calibrated_gives_no_risk(parts, tmp_path):
    detector = CalibratedDetector(make_baseline("min_logprob")).fit(*parts[0])
    for call in (
        lambda: detector.predict_risk(parts[2][0]),
        lambda: detector.judge(parts[2][0]),
        lambda: detector.guarantee(0.1),
        lambda: detector.drift(parts[2][0]),
        lambda: detector.save_pretrained(tmp_path / "d"),
    ):
        with pytest.raises(ConfigError, match="not calibrated"):
            call()


def test_a_changed_directory_is_refused(detector, tmp_path):
    folder = tmp_path / "d"
    detector.save_pretrained(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(ArtifactError, match="format 9"):
        CalibratedDetector.from_pretrained(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (folder / SAMPLE).write_bytes(b"x")
    with pytest.raises(ArtifactError, match="was changed"):
        CalibratedDetector.from_pretrained(folder)
    with pytest.raises(ArtifactError, match="no detector ready for use"):
        CalibratedDetector.from_pretrained(tmp_path / "nothing")
    outside = manifest["sha256"] | {"../../etc/passwd": "0"}
    (folder / MANIFEST).write_text(json.dumps(manifest | {"sha256": outside}))
    with pytest.raises(ArtifactError, match="was changed"):
        CalibratedDetector.from_pretrained(folder)
