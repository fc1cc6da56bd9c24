"""What a launch with accelerate's FSDP asks for, and what is refused of it."""

import os

import pytest

from llmrec.errors import ConfigError
from llmrec.training.fsdp_launch import FsdpRequest, take_over_fsdp


@pytest.fixture
def launch(monkeypatch):
    """The variables that accelerate sets, some of them changed."""

    def launch(**changed):
        values = {
            "ACCELERATE_USE_FSDP": "true",
            "FSDP_OFFLOAD_PARAMS": "false",
            "FSDP_RESHARD_AFTER_FORWARD": "true",
            "FSDP_ACTIVATION_CHECKPOINTING": "false",
        }
        for name, value in (values | changed).items():
            monkeypatch.setenv(name, value)

    return launch


def test_a_plain_launch_asks_for_nothing(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    assert take_over_fsdp() is None


@pytest.mark.parametrize("recomputes", [False, True])
def test_a_request_is_taken_over_once(launch, recomputes):
    launch(FSDP_ACTIVATION_CHECKPOINTING=str(recomputes).lower())
    assert take_over_fsdp() == FsdpRequest(recomputes)
    assert "ACCELERATE_USE_FSDP" not in os.environ
    assert take_over_fsdp() is None


def test_the_first_version_of_fsdp_asks_in_other_words(launch):
    launch(FSDP_RESHARD_AFTER_FORWARD="FULL_SHARD", FSDP_SHARDING_STRATEGY="1")
    assert take_over_fsdp() == FsdpRequest(False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FSDP_OFFLOAD_PARAMS", "true"),
        ("FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD", "true"),
        ("FSDP_RESHARD_AFTER_FORWARD", "false"),
        ("FSDP_SHARDING_STRATEGY", "HYBRID_SHARD"),
        ("FSDP_AUTO_WRAP_POLICY", "SIZE_BASED_WRAP"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(launch, name, value):
    launch(**{name: value})
    with pytest.raises(ConfigError, match=f"asks for {name.lower()}: {value}, which is not supp"):
        take_over_fsdp()
