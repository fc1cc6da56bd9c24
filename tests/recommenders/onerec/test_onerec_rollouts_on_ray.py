"""Lists written by workers of Ray are those that one process writes."""

import numpy as np
import pytest

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ArtifactError, ConfigError
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.alignment import rollouts as module
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig, RewardSettings, TowerRule
from llmrec.recommenders.onerec.alignment.judging import train_reward_model
from llmrec.recommenders.onerec.alignment.loop import Alignment
from llmrec.recommenders.onerec.alignment.on_ray import roll_out_on_ray
from llmrec.recommenders.onerec.alignment.rollouts import Rollouts, roll_out
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.training.config import TrainingConfig

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
PROMPTS = SPLIT.cases("valid").histories


def trained(folder, seed=0):
    model = OneRec(
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        generator={"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3},
        training={"epochs": 1, "batch_size": 64, "seed": seed},
        beam=10,
    )
    model.use_catalog(DATA.catalog).fit(SPLIT.train_histories()).save_pretrained(folder)
    return model


@pytest.mark.ray
def test_workers_write_what_one_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 16)
    model = trained(tmp_path / "model")
    version = weights_version(model.generator)
    alone, together = (Rollouts(tmp_path / name, PROMPTS, 4, 3, version) for name in ("a", "b"))
    roll_out(alone, model.writer, model.trie)
    roll_out(together, model.writer, model.trie, (1, 4))  # some parts are there already
    assert roll_out_on_ray(together, tmp_path / "model", workers=2) == 3
    np.testing.assert_array_equal(alone.load().items, together.load().items)
    np.testing.assert_allclose(
        alone.load().log_probabilities, together.load().log_probabilities, atol=1e-4
    )
    assert roll_out_on_ray(together, tmp_path / "model", workers=2) == 0

    other = Rollouts(tmp_path / "c", PROMPTS, 4, 3, "another-policy")
    with pytest.raises(ArtifactError, match="name the model that the iteration starts from"):
        roll_out_on_ray(other, tmp_path / "model", workers=1)


@pytest.mark.ray
def test_all_iterations_of_a_loop_are_written_by_workers(tmp_path, monkeypatch):
    training = TrainingConfig(epochs=1, batch_size=128, learning_rate=3e-3)
    rewards = RewardSettings(
        towers=[TowerRule(name="like", column="label")], dim=8, history=10, training=training
    )
    config = AlignmentConfig(
        reward=rewards, iterations=2, share=0.1, lists=4, most_loss=0.99, watched=20,
        training=training,
    )  # fmt: skip
    judge = train_reward_model(SPLIT, rewards).model
    model, cases = trained(tmp_path / "model"), SPLIT.cases("valid")
    loop = Alignment(model, SPLIT.train_histories(), cases, judge, config, tmp_path / "loop")
    written = []
    found = loop.run(lambda: written.append(loop.roll_out_on_ray(workers=1)))
    assert written == [1, 1]
    assert len(found) == 3


def test_what_is_no_saved_model_is_refused(tmp_path):
    rollouts = Rollouts(tmp_path / "lists", PROMPTS, 4, 3, "p")
    with pytest.raises(ArtifactError, match=r"is no saved model: it has no model\.json"):
        roll_out_on_ray(rollouts, tmp_path)


def test_workers_are_counted_from_one(tmp_path):
    rollouts = Rollouts(tmp_path, PROMPTS, 4, 3, "p")
    with pytest.raises(ConfigError, match="workers is 0; expected 1 or more"):
        roll_out_on_ray(rollouts, tmp_path, workers=0)
