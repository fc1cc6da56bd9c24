import numpy as np
import pytest
from scipy.stats import ks_2samp

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.inference.signature import Position, record_of_positions
from llmrec.signatures.drift import FEATURES, DriftReference, features, psi
from llmrec.testing.signatures import labelled_signatures


def drawn(n=300, seed=0, **about):
    return labelled_signatures(n, seed, **about)[0]


def test_the_numbers_of_a_record_by_hand():
    rows = [Position(list(np.log([0.5, 0.25])), actual=0), Position([np.log(0.9)], actual=0)]
    about = {"vocab_size": None, "mode": "unknown", "kind": "output", "has_eos": False}
    record = record_of_positions(rows, 2, **about)
    first = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    second = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    expected = [(first + second) / 2, 0.7, (0.25 + 0.1) / 2, 1.5, 2]
    np.testing.assert_allclose(features([record])[0], expected, rtol=1e-5)
    empty = record_of_positions([], 2, **about)
    assert features([empty])[0].tolist() == [0, 1, 0, 0, 0]


def test_psi_by_hand_and_its_bins():
    # deciles of 0..99: ten bins of ten; all new values in the first
    p, q = 10.5 / 105, np.r_[100.5, np.full(9, 0.5)] / 105
    expected = ((q - p) * np.log(q / p)).sum()
    assert psi(np.arange(100.0), np.zeros(100)) == pytest.approx(expected)
    # a frequent value has a bin of its own: values below it are seen
    assert psi(np.full(50, 20.0), np.full(50, 5.0)) > 5
    assert psi(np.full(50, 20.0), np.full(50, 20.0)) == 0


def test_what_changed_is_named():
    reference = DriftReference.of(drawn())
    same = reference.check(drawn(seed=1))
    assert not same.alarm
    assert "are like those" in same.sentence
    longer = reference.check(drawn(seed=1, lengths=(15, 40)))
    moved = {f.name for f in longer.features if f.drifts}
    assert "length" in moved  # and means over more positions vary less
    assert "received" not in moved
    assert "length 6" in longer.sentence
    fewer = reference.check(drawn(seed=1, k=4))
    assert {f.name for f in fewer.features if f.drifts} >= {"received", "tail_mass"}
    tested = next(f for f in longer.features if f.name == "entropy")
    column = FEATURES.index("entropy")
    expected = ks_2samp(
        features(drawn())[:, column], features(drawn(seed=1, lengths=(15, 40)))[:, column]
    )
    assert tested.ks == pytest.approx(expected.statistic)


def test_changes_of_mode_and_fingerprint_alarm_by_themselves():
    reference = DriftReference.of(drawn())
    new = drawn(seed=1, mode="processed_logprobs", fingerprint={"model": "another"})
    found = reference.check(new)
    assert found.alarm
    assert not any(f.drifts for f in found.features)
    assert "mode was raw_logprobs and is processed_logprobs" in found.sentence
    assert "fingerprint model was drawn and is another" in found.sentence
    assert found.to_json()["alarm"] is True


def test_false_alarms_are_as_rare_as_promised_and_noise_alone_does_not_count():
    pool = drawn(2900, lengths=(1, 3))
    reference = DriftReference.of(pool[:500])
    parts = [pool[start : start + 40] for start in range(500, 2900, 40)]
    alarms = [reference.check(part, false_alarms=0.1).alarm for part in parts]
    assert np.mean(alarms) <= 0.1 + 3 * 0.3 / np.sqrt(len(alarms))
    # a tiny but certain difference does not matter
    hardly = reference.check(drawn(100, seed=5, lengths=(3, 4)), psi_limit=99.0)
    assert not hardly.alarm


def test_saving_keeps_a_sorted_summary():
    reference = DriftReference.of(drawn(2500, lengths=(1, 2)))
    assert all(v.size == 2000 and (np.diff(v) >= 0).all() for v in reference.values.values())
    again = DriftReference.from_json(reference.to_json())
    new = drawn(50, seed=3)
    assert again.check(new).to_json() == reference.check(new).to_json()
    with pytest.raises(ArtifactError, match="damaged"):
        DriftReference.from_json({"n": 1})


def test_nothing_to_compare_is_said():
    with pytest.raises(DataError, match="no records"):
        DriftReference.of([])
    with pytest.raises(ConfigError, match="false_alarms is 2"):
        DriftReference.of(drawn(5)).check(drawn(5), false_alarms=2)
