"""Every example in the docstrings of training and recommenders runs."""

import doctest
import importlib
import pkgutil

import pytest

import llmrec.recommenders
import llmrec.training

MODULES = sorted(
    module.name
    for package in (llmrec.recommenders, llmrec.training)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_examples_exist():
    found = doctest.DocTestFinder().find(importlib.import_module("llmrec.training.schedule"))
    assert any(test.examples for test in found)
