"""What the tests with a real vLLM share: two engines, a server and the models they serve."""

import pytest

from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.vllm_engine import VLLMLanguageModel
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

ADAPTERS = ("alice@1", "bob.v2", "carol")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "base", seed=1)


@pytest.fixture(scope="session")
def adapters(base):
    return {
        name: save_tiny_adapter(base.parent / name, base, seed=n, rank=2 + n)
        for n, name in enumerate(ADAPTERS)
    }


@pytest.fixture(scope="session")
def reference(base, adapters):
    return HFLanguageModel(base, device="cpu", adapters=adapters)


@pytest.fixture(scope="session")
def engine(base, adapters):
    options = {"max_num_seqs": 64}
    with VLLMLanguageModel(
        base, adapters=adapters, cache_gib=0.25, lora_rank=8, options=options
    ) as model:
        yield model


@pytest.fixture(scope="session")
def plain_engine(tmp_path_factory):
    """No token that begins texts, and no room for adapters."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("models") / "plain", seed=2, bos=False)
    with VLLMLanguageModel(folder, cache_gib=0.25) as model:
        yield model
