import pytest

from llmrec.testing.tiny_llama import save_tiny_llama


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    """A base model of random weights, one token per byte."""
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "model")
