import json

import pytest
from scripted_recommender import constant, toy_split

from llmrec.errors import ArtifactError
from llmrec.evaluation import Evaluation, evaluate
from llmrec.evaluation.outcome import Figure
from llmrec.evaluation.protocol import Judging, Protocol


@pytest.fixture
def saved(tmp_path):
    split = toy_split()
    protocol = Protocol.of(split, Judging(metrics=("ndcg@5",)))
    evaluate(constant(split.dataset.item_vocabulary), split, protocol).save(tmp_path)
    return tmp_path


def rewrite(folder, **changes):
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_keys_of_later_versions_are_passed_over(saved):
    rewrite(saved, something_new=1)
    assert Evaluation.load(saved).n_users == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"protocol_hash": "0"}, "protocol_hash does not match"),
        ({"metrics": {"ndcg@5": 0.1}}, "metrics.ndcg@5 is 0.1"),
    ],
)
def test_files_of_another_form_are_refused(saved, changes, message):
    rewrite(saved, **changes)
    with pytest.raises(ArtifactError, match=message):
        Evaluation.load(saved)


def test_missing_and_broken_files_are_named(saved):
    (saved / "per_user.parquet").write_bytes(b"not parquet")
    with pytest.raises(ArtifactError, match=r"per_user.parquet is not a readable parquet"):
        Evaluation.load(saved)
    (saved / "per_user.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"per_user.parquet is missing"):
        Evaluation.load(saved)
    (saved / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match=r"metrics.json is missing"):
        Evaluation.load(saved)


def test_figures_without_a_value_hold_none():
    figure = Figure.of(float("nan"), [float("nan"), 1.0], 0)
    assert (figure.mean, figure.ci95) == (None, None)
