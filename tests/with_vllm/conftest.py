"""What the tests with a real vLLM share: two engines, a server and the models they serve."""

import pytest
from served import server

from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.openai_client import OpenAICompatibleModel
from llmrec.inference.openai_requests import VLLM_FIELDS
from llmrec.inference.vllm_engine import VLLMLanguageModel
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

ADAPTERS = ("alice@1", "bob.v2", "carol")
LAYERS = ("q_proj", "v_proj", "down_proj")


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
    """No token that begins texts, a second one that ends them, and no room for adapters."""
    folder = tmp_path_factory.mktemp("models") / "plain"
    save_tiny_llama(folder, seed=2, bos=False, ends="~")
    with VLLMLanguageModel(folder, cache_gib=0.25) as model:
        yield model


@pytest.fixture(scope="session")
def address(base, adapters, tmp_path_factory):
    """A server's."""
    log = tmp_path_factory.mktemp("server") / "log"
    with server(base, adapters, LAYERS, log) as found:
        yield found


@pytest.fixture(scope="session")
def served(address):
    return OpenAICompatibleModel(
        address, "base", api_key_env=None, extra_fields=VLLM_FIELDS, mode="raw_logprobs"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of the server's log beside a failure."""
    report = yield
    if report.failed and "address" in getattr(item, "fixturenames", ()):
        found = item.config._tmp_path_factory.getbasetemp().glob("server*/log")
        report.sections += [("log of the server", path.read_text()[-4000:]) for path in found]
    return report
