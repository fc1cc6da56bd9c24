"""The examples in the docstrings of the signatures' data, baselines and comparison hold."""

import doctest
import importlib

import pytest

MODULES = (
    "baselines.named",
    "baselines.positions",
    "baselines.scores",
    "calibrated",
    "comparison.compare",
    "decision.calibration",
    "decision.curves",
    "decision.ece_floor",
    "decision.reliability",
    "decision.selective",
    "drift",
    "existence",
    "los_net.adaptation",
    "readers.graded",
    "records",
    "splits",
    "store.store",
    "wrapper",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(f"llmrec.signatures.{name}"))
    assert found.attempted
    assert not found.failed
