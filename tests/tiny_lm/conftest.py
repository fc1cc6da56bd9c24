"""Models made of the small world, each once."""

import pytest
from small_films import SMALL, make_data

from llmrec.data import leave_one_out
from llmrec.tiny_lm.config import make_config
from llmrec.tiny_lm.making import train_tiny


@pytest.fixture(scope="session")
def split():
    return leave_one_out(make_data())


@pytest.fixture(scope="session")
def small_config():
    return make_config("test", **SMALL)


@pytest.fixture(scope="session")
def model(split, small_config, tmp_path_factory):
    """A finished model, made once."""
    folder = tmp_path_factory.mktemp("lm") / "model"
    return train_tiny(split, small_config, folder=folder)
