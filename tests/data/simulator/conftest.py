import pytest

from llmrec.data.simulator import simulate


@pytest.fixture(scope="session")
def tiny():
    return simulate("simulate:tiny@1")


@pytest.fixture(scope="session")
def small():
    return simulate("simulate:small@1")


@pytest.fixture(scope="session")
def long_taste():
    return simulate("simulate:long-taste@2")
