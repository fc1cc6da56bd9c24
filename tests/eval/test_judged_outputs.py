"""What is kept of a trained RecLoRA: its own answers, and those of its parts."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS.parent / "eval"), str(TESTS / "recommenders" / "reclora")]

from judged_outputs import outputs  # noqa: E402
from reclora_worlds import fitted_on, liking_world, make_model  # noqa: E402

from llmrec.adapters.gates import even_gates  # noqa: E402
from llmrec.testing.tiny_llama import save_tiny_llama  # noqa: E402

WANTED = {"score", "base", "ctr", "both", "swapped", "centroids-1", "centroids-24"}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Split, model and its outputs."""
    base = save_tiny_llama(tmp_path_factory.mktemp("base") / "model")
    split = liking_world()
    model = fitted_on(split, make_model(base, {"b_noise": 2.0}))
    people = split.train_histories()
    return split, model, outputs(model, split.labelled_cases("test"), WANTED, people)


def test_outputs_are_those_of_the_model_and_its_ctr_model(judged):
    split, model, found = judged
    cases = split.labelled_cases("test")
    histories = cases.histories.with_vocabulary(model.vocabulary)
    assert set(found) == WANTED
    own = model.score_pairs(histories, cases.items)
    ctr = model.ctr.score_pairs(histories, cases.items)
    np.testing.assert_allclose(found["score"], own, rtol=1e-5)
    np.testing.assert_allclose(found["ctr"], ctr, rtol=1e-5)
    np.testing.assert_allclose(found["both"], expit((logit(own) + logit(ctr)) / 2), rtol=1e-4)
    assert np.abs(found["swapped"] - own).max() > 1e-4
    assert np.abs(found["base"] - own).max() > 1e-4


def test_centroids_lie_between_one_adapter_for_all_and_everybodys_own(judged):
    split, model, found = judged
    cases = split.labelled_cases("test")
    ranker = model.ranker
    pairs = ranker.prepare(cases.histories.with_vocabulary(model.vocabulary), cases.items)
    people = model.gates(split.train_histories())
    mean = even_gates(ranker.lora.config_lora, ranker.lora.n_gates).new_tensor(people.mean(0))
    alike = ranker.judge.pairs(pairs.beginnings, pairs.items, mean[None])
    np.testing.assert_allclose(found["centroids-1"], expit(alike), rtol=1e-4)
    far = [np.abs(found[name] - found["score"]).mean() for name in ("centroids-1", "centroids-24")]
    assert far[1] < far[0]


def test_names_that_are_not_wanted_cost_nothing(judged):
    split, model, found = judged
    cases, people = split.labelled_cases("test"), split.train_histories()
    ((name, score),) = outputs(model, cases, {"score"}, people).items()
    assert name == "score"
    np.testing.assert_array_equal(score, found["score"])
