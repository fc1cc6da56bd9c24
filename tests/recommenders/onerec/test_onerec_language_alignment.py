"""A language model that writes semantic IDs learns preferences in the same loop."""

import math

import numpy as np
import pytest
import torch
from test_onerec_alignment import DATA, REWARD, SPLIT, TRAIN, VALID, Killed, settings

from llmrec.recommenders.onerec.alignment.judging import train_reward_model
from llmrec.recommenders.onerec.alignment.loop import Alignment
from llmrec.recommenders.onerec.alignment.objective import AlignedPolicy, AlignmentRows
from llmrec.recommenders.onerec.alignment.pairs import Pairs, reference_log_probabilities
from llmrec.recommenders.onerec.alignment.rollouts import written_lists
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.testing.tiny_llama import save_tiny_llama

FEW = VALID.histories.take(np.arange(12))
OPTIONS = {"iterations": 1, "weight": 1.0}


@pytest.fixture(scope="module")
def judged():
    return train_reward_model(SPLIT, REWARD)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aligned-language")
    model = OneRecLM(
        language_model=str(save_tiny_llama(folder / "llama")),
        tokenizer={"levels": 2, "codes": 16},
        text_encoder="tfidf:16",
        history=8,
        session=3,
        titles=False,
        training={"epochs": 1, "batch_size": 64, "learning_rate": 3e-3},
        beam=12,
        best_of=4,
    )
    model.use_catalog(DATA.catalog).fit(TRAIN).save_pretrained(folder / "model")
    return folder / "model"


def loop_of(trained, judged, folder, resume=False, **options):
    model = OneRecLM.from_pretrained(trained)
    config = settings(**{**OPTIONS, **options})
    return model, Alignment(model, TRAIN, VALID, judged.model, config, folder, resume)


@pytest.fixture(scope="module")
def aligned(trained, judged, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignment")
    model, loop = loop_of(trained, judged, folder)
    return folder, model, loop.run()


def test_rewards_rise_and_lists_stay_legal(aligned):
    _, model, (before, after) = aligned
    assert after.kept
    assert after.figures["reward"] > before.figures["reward"] + 0.02
    assert after.figures["legality"] == 1.0
    assert after.figures["kl"] > 0
    assert 0 <= after.figures["free_legality"] <= 1  # without the trie it may write anything
    assert weights_version(model.network) == after.policy != before.policy


def test_before_the_first_step_policy_and_reference_agree(aligned, trained):
    folder, _, _ = aligned
    policy = OneRecLM.from_pretrained(trained).writer
    pairs = Pairs.load(folder / "iteration-01" / "pairs.parquet")
    assert pairs.frame.height > 50
    rows = AlignmentRows(
        OneRecLM.from_pretrained(trained).training_rows(TRAIN), pairs, policy.newest(3), seed=0
    )
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    assert len(batch.pairs) == pairs.frame.height
    learner = AlignedPolicy(policy, settings()).train()
    with torch.no_grad():
        learner(batch)
    learnt = learner.end_epoch()
    assert learnt["preference_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert learnt["chosen"] == pytest.approx(pairs.frame["ref_chosen_logps"].mean(), abs=1e-3)


def test_references_are_what_the_search_found(trained):
    model = OneRecLM.from_pretrained(trained)
    found = written_lists(model.writer, model.trie, FEW, 4, 3)
    reference = model.writer.copied()
    with torch.no_grad():
        next(model.network.parameters()).zero_()
    for place in range(4):
        again = reference_log_probabilities(reference, FEW, found.items[:, place])
        np.testing.assert_allclose(again, found.log_probabilities[:, place], atol=1e-3)
    changed = reference_log_probabilities(model.writer, FEW, found.items[:, 0])
    assert np.abs(changed - found.log_probabilities[:, 0]).min() > 0.01


def test_a_killed_alignment_goes_on_to_the_same_bits(aligned, trained, judged, tmp_path):
    _, whole, _ = aligned
    batch, calls = AlignmentRows.batch, []

    def killed(rows, *given):
        calls.append(1)
        if len(calls) > 4:
            raise Killed
        return batch(rows, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AlignmentRows, "batch", killed)
        with pytest.raises(Killed):
            loop_of(trained, judged, tmp_path)[1].run()
    model, loop = loop_of(trained, judged, tmp_path, resume=True)
    loop.run()
    assert weights_version(model.network) == weights_version(whole.network)


def test_it_is_served_with_its_reward_model(aligned, judged, tmp_path):
    _, model, _ = aligned
    model.use_reward_model(judged.model)
    lists = model.recommend_session(FEW)
    assert lists.height == 3 * len(FEW)
    assert lists.equals(model.recommend_session(FEW, best_of=4))
    assert not lists.equals(model.recommend_session(FEW, best_of=1))
    model.save_pretrained(tmp_path / "model")
    loaded = OneRecLM.from_pretrained(tmp_path / "model")
    assert loaded.recommend_session(FEW).equals(lists)
    assert loaded.recommend(FEW, k=5).equals(model.recommend(FEW, k=5))
