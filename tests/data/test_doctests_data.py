"""Every example in the docstrings of the data layer runs."""

import doctest
import importlib
import pkgutil

import pytest

import llmrec.data

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(llmrec.data.__path__, "llmrec.data.")
    if not module.name.startswith("llmrec.data.simulator")  # tested beside its own tests
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_some_examples_exist():
    found = doctest.DocTestFinder().find(importlib.import_module("llmrec.data.ragged"))
    assert any(test.examples for test in found)
