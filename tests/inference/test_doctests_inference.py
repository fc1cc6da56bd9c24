"""Every example in the docstrings of the inference layer runs."""

import doctest
import importlib
from pathlib import Path

import pytest

import llmrec.inference

FILES = sorted(Path(llmrec.inference.__file__).parent.glob("*.py"))
MODULES = [file.stem for file in FILES if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"llmrec.inference.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_some_examples_exist():
    assert {"http_errors", "shards", "signature"} <= set(MODULES)
