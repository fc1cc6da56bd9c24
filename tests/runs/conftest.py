"""Small runs on the tiny simulation, trained once and copied where a test changes them."""

import shutil

import pytest
import yaml

from llmrec.runs.execute import train
from llmrec.runs.recipe import parse_recipe

TASK = {
    "name": "tiny",
    "version": 1,
    "description": "Next item in the tiny simulation.",
    "dataset": "simulate:tiny@1",
    "split": {"name": "leave_one_out"},
    "metrics": ["ndcg@10", "hit_rate@10", "coverage@10"],
    "slices": ["history_length"],
}


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TASK))
    return path


@pytest.fixture(scope="session")
def popularity_recipe(tiny_task):
    return parse_recipe(
        {"name": "most-popular", "task": str(tiny_task), "model": {"name": "popularity"}}
    )


@pytest.fixture(scope="session")
def sasrec_recipe(tiny_task):
    model = {"name": "sasrec", "dim": 8, "blocks": 1, "heads": 1}
    training = {"epochs": 3, "batch_size": 16}
    values = {"name": "small-sasrec", "task": str(tiny_task), "model": model, "training": training}
    return parse_recipe(values)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, popularity_recipe, sasrec_recipe):
    """Two runs judged on validation; tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    train(popularity_recipe, folder / "pop")
    train(sasrec_recipe, folder / "sasrec")
    return folder


@pytest.fixture(scope="session")
def sessions_run(tiny_task, tmp_path_factory):
    """A judged run of a model that writes sessions; tests only read it."""
    generator = {"form": "encoder_decoder", "dim": 16, "session": 3}
    model = {
        "name": "onerec", "tokenizer": {"codes": 8}, "generator": generator,
        "text_encoder": "tfidf:16", "sessions": {"group": "gap", "gap_seconds": 600},
    }  # fmt: skip
    training = {"epochs": 1, "batch_size": 64}
    values = {"name": "lists", "task": str(tiny_task), "model": model, "training": training}
    return train(parse_recipe(values), tmp_path_factory.mktemp("sessions") / "run")


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the two runs that a test may change."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"
