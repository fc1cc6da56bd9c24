import doctest
import importlib

import pytest

MODULES = [
    "metrics",
    "metrics.ranking",
    "metrics.lists",
    "metrics.pairs",
    "ranks",
    "significance",
    "slices",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_documentation_are_true(name):
    result = doctest.testmod(importlib.import_module(f"llmrec.evaluation.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
