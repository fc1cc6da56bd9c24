import re
from datetime import UTC, datetime

import numpy as np
import pytest

from llmrec.errors import DataError
from llmrec.evaluation.metrics.pairs import auc, ece
from llmrec.signatures.baselines import make_baseline
from llmrec.signatures.calibrated import CalibratedDetector
from llmrec.signatures.decision.curves import aurc, average_precision, tpr_at_fpr
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.report import Method, RiskReport, write_risk_report
from llmrec.signatures.report.building import Wanted, report_of_detector, report_of_logs
from llmrec.signatures.report.judged import METRICS
from llmrec.testing.signatures import labelled_signatures

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m"


@pytest.fixture(scope="module")
def signatures():
    records, labels = labelled_signatures(120, 0, lengths=(2, 5), text=HOSTILE)
    tasks = ["a" if i % 3 else HOSTILE for i in range(120)]
    ids = [f"{i}{HOSTILE}" if i == 3 else str(i) for i in range(120)]
    return SignatureSet.of(
        records, labels, [f"{t}{i}" for i, t in enumerate(tasks)], ids, task=tasks
    )


def written(report, tmp_path, name="r.html"):
    return write_risk_report(report, tmp_path / name, f"Title {HOSTILE}", NOON).read_text()


def test_figures_are_those_of_the_metrics(signatures):
    risks = np.random.default_rng(0).random(120)
    report = RiskReport(signatures, [Method("m", risks), Method("s", -risks, False)])
    y = signatures.labels
    found = report.figures(report.methods[0])
    expected = {
        "auc": auc(y, risks),
        "average precision": average_precision(y, risks),
        "tpr@5% fpr": tpr_at_fpr(y, risks, 0.05),
        "aurc": aurc(y, risks),
        "ece": ece(y, risks),
    }
    assert set(found) == set(METRICS)
    for name, value in expected.items():
        assert found[name].mean == pytest.approx(value)
    low, high = found["auc"].ci95
    assert low < found["auc"].mean < high
    assert "ece" not in report.figures(report.methods[1])


def test_a_page_of_labelled_logs_is_whole_offline_and_safe(signatures, tmp_path):
    wanted = Wanted(
        methods=("mean_entropy", "mean_logprob"),
        slices=["task"],
        remarks=[HOSTILE],
        sources=[HOSTILE],
        maps=2,
    )
    report = report_of_logs(signatures, wanted, signatures.examples["task"].to_list())
    assert len(report.maps) == 2
    assert len(report.promises) == 3
    text = written(report, tmp_path)
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?:src|href)=|url\(|@import", text)
    for heading in ("ROC", "Precision and recall", "Reliability", "Risk and coverage"):
        assert f"<h3>{heading}</h3>" in text
    assert "&lt;script&gt;" in text
    assert f"{report.intervals['mean_entropy'].auc:.3f}" in text
    assert "leave one out of 2" in text
    assert written(report, tmp_path, "again.html") == text


def test_logs_without_labels_show_risks_alone(signatures, tmp_path):
    bare = SignatureSet.of(signatures.records)
    report = report_of_logs(bare, Wanted())
    text = written(report, tmp_path)
    assert "how good they are is not known: no item has a label" in text
    assert "ROC" not in text
    assert "The riskiest items" in text


def test_some_labels_leave_the_others_out_and_say_so(signatures, tmp_path):
    labels = signatures.labels.copy()
    labels[:20] = np.nan
    some = SignatureSet.of(signatures.records, labels)
    report = report_of_logs(some, Wanted(methods=("mean_logprob",), maps=0))
    assert len(report.signatures) == 100
    assert "20 records without a label" in written(report, tmp_path)


def test_a_detector_is_shown_beside_single_scores_and_with_its_promise(tmp_path):
    train, calibrate, new = (labelled_signatures(200, s, lengths=(3, 5)) for s in range(3))
    detector = CalibratedDetector(make_baseline("min_logprob")).fit(*train).calibrate(*calibrate)
    promise = detector.guarantee(0.4, 0.1)
    report = report_of_detector(detector, SignatureSet.of(*new), Wanted())
    assert [method.name for method in report.methods] == [
        "min_logprob", "mean_logprob", "min_probability", "mean_entropy",
    ]  # fmt: skip
    np.testing.assert_array_equal(report.methods[0].risks, detector.predict_risk(new[0]))
    assert promise.sentence.split("%")[0] in written(report, tmp_path)


def test_labels_upside_down_are_said_on_the_page(tmp_path):
    train, calibrate, new = (
        labelled_signatures(150, s, lengths=(1, 1), contrast=9.0) for s in range(3)
    )
    detector = CalibratedDetector(make_baseline("mean_entropy")).fit(*train)
    detector.calibrate(*calibrate)
    turned = SignatureSet.of(new[0], 1 - new[1])
    report = report_of_detector(detector, turned, Wanted(methods=(), maps=0))
    assert "labels are upside down" in report.remarks[0]
    assert "labels are upside down" in written(report, tmp_path)
    upright = report_of_detector(detector, SignatureSet.of(*new), Wanted(methods=(), maps=0))
    assert not upright.remarks


def test_what_cannot_be_shown_is_refused(signatures):
    with pytest.raises(DataError, match="at least one record and one method"):
        RiskReport(signatures, [])
    with pytest.raises(DataError, match="120 records have 1 risks of m"):
        RiskReport(signatures, [Method("m", np.zeros(1))])
    with pytest.raises(DataError, match="no column 'subject'"):
        RiskReport(signatures, [Method("m", np.zeros(120))], slices=["subject"])
