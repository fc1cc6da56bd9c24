"""Baselines learn, are turned the right way, refuse other sources, and survive saving."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from llmrec.contracts import RiskScorer
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.inference.signature import Position, record_of_positions
from llmrec.signatures.baselines import BASELINES, load_baseline, make_baseline
from llmrec.signatures.baselines.atp import flat_rows
from llmrec.signatures.baselines.boosting import trees_of
from llmrec.signatures.detectors import load_detector
from llmrec.testing.signatures import labelled_signatures

FAST = {"epochs": 2, "batch_size": 64}
LEARNT = ("logistic", "boosting", "atp_transformer", "atp_mlp", "bag_of_words")


@pytest.fixture(scope="module")
def world():
    records, labels = labelled_signatures(260, seed=0, k=6, lengths=(4, 8))
    moments = {"weighted_mean": "row_mean", "weighted_std": "row_std"}
    made = [
        replace(r, text="".join(r.tokens), **{a: getattr(r, b) for a, b in moments.items()})
        for r in records
    ]
    return made, labels


@pytest.fixture(scope="module")
def fitted(world):
    records, labels = world
    return {
        name: make_baseline(name, training=FAST).fit(records[:200], labels[:200])
        for name in ("mean_logprob", *LEARNT)
    }


@pytest.mark.parametrize("name", ["mean_logprob", *LEARNT])
def test_saved_and_read_again(name, fitted, world, tmp_path):
    records, _ = world
    model = fitted[name]
    assert isinstance(model, RiskScorer)
    risk = model.predict_risk(records[200:])
    assert risk.dtype == np.float32
    assert ((risk >= 0) & (risk <= 1)).all()
    model.save_pretrained(tmp_path / "m")
    again = load_detector(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_risk(records[200:]), risk)
    others = [replace(records[0], mode="processed_logprobs")]
    for one in (model, again):
        with pytest.raises(DataError, match="mode processed_logprobs"):
            one.predict_risk(others)
        with pytest.warns(UserWarning, match="scores may be off"):
            one.predict_logit(others, on_mismatch="warn")


def test_summaries_tell_what_single_scores_do_not(fitted, world):
    records, labels = world
    found = {name: auc(labels[200:], m.predict_logit(records[200:])) for name, m in fitted.items()}
    assert found["boosting"] > 0.9
    assert found["logistic"] > 0.9
    assert found["mean_logprob"] < 0.9
    assert abs(found["bag_of_words"] - 0.5) < 0.2


@pytest.mark.parametrize("task", ["correctness", "membership"])
def test_a_score_is_turned_the_way_the_labels_say(world, task):
    records, labels = world
    for given in (labels, 1 - labels):
        model = make_baseline("mean_margin", task).fit(records, given)
        assert auc(given, model.predict_logit(records)) > 0.5


def test_every_name_makes_something_with_that_seed():
    for name in BASELINES:
        assert hasattr(make_baseline(name, "membership", seed=3), "predict_logit")
    with pytest.raises(ConfigError, match="did you mean 'boosting'"):
        make_baseline("bosting")
    with pytest.raises(ConfigError, match="mean_logprob is not fitted"):
        make_baseline("mean_logprob").predict_risk([])


def test_our_trees_give_what_scikit_learn_gives():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6))
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(float)
    grown = HistGradientBoostingClassifier(max_iter=20, early_stopping=False).fit(rows, labels)
    stages = list(grown.staged_decision_function(rows))
    np.testing.assert_allclose(trees_of(grown, 20).logits(rows), stages[-1], rtol=1e-9)
    np.testing.assert_allclose(trees_of(grown, 7).logits(rows), stages[6], rtol=1e-9)


def test_same_seed_same_model(world):
    records, labels = world
    one, two = (
        make_baseline("atp_mlp", seed=4, training=FAST).fit(records[:100], labels[:100])
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.predict_logit(records), two.predict_logit(records))


def test_the_flat_row_holds_the_actual_tokens(world):
    record = world[0][0]
    row = flat_rows([record])[0].reshape(3, 100)
    n = len(record)
    np.testing.assert_array_equal(row[0, :n], record.actual_logprob)
    np.testing.assert_allclose(row[1, :n], np.log1p(record.actual_rank), rtol=1e-6)
    assert row[2].tolist() == [1.0] * n + [0.0] * (100 - n)


def test_given_validation_records_choose(world):
    records, labels = world
    model = make_baseline("logistic")
    model.fit(records[:100], labels[:100], validation=(records[100:150], labels[100:150]))
    assert auc(labels[150:], model.predict_logit(records[150:])) > 0.8
    with pytest.raises(DataError, match="label 1 on all"):
        model.fit(records[:3], [1, 1, 1])


@pytest.mark.parametrize("damage", ["arrays", "manifest", "kind", "nothing"])
def test_damaged_directories_are_refused(fitted, tmp_path, damage):
    folder = tmp_path / "m"
    fitted["logistic"].save_pretrained(folder)
    if damage == "arrays":
        (folder / "baseline.safetensors").write_bytes(b"x")
    elif damage == "nothing":
        folder = tmp_path / "empty"
        folder.mkdir()
    else:
        text = (folder / "baseline.json").read_text()
        old, new = ('"format": 1', '"format": 7') if damage == "manifest" else ("logistic", "magic")
        (folder / "baseline.json").write_text(text.replace(old, new, 1))
    with pytest.raises(ArtifactError):
        load_baseline(folder)
    if damage == "nothing":
        with pytest.raises(ArtifactError, match="holds no detector"):
            load_detector(folder)


def test_very_sure_answers_are_still_told_apart():
    """Log-probabilities of -1e-6 and -1e-8 beside one of -2: float32 log-odds would be equal."""
    values = [-1e-8, -1e-7, -1e-6, -1e-5, -2.0, -3.0]
    records = [
        record_of_positions(
            [Position([value], actual=0)], 1, vocab_size=9, mode="unknown", kind="output",
            has_eos=False,
        )
        for value in values
    ]  # fmt: skip
    labels = [0, 0, 0, 0, 1, 1]
    model = make_baseline("mean_logprob").fit(records, labels, validation=(records, labels))
    assert (np.diff(model.predict_logit(records)) > 0).all()
