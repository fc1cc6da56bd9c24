"""The contract on a vLLM server, through the client for OpenAI-compatible servers."""

import pytest

from llmrec.testing import tiny_llama
from llmrec.testing.language_model import LanguageModelContract

pytestmark = pytest.mark.vllm


class TestServer(LanguageModelContract):
    vocab_size = tiny_llama.VOCAB_SIZE
    context = tiny_llama.CONTEXT
    adapters = ("alice@1", "bob.v2", "carol")
    hottest = 2.0
    spare = 1  # the server wants room for one token of an answer
    tells_vocabulary = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _served(cls, served):
        cls.served = served

    def make(self):
        return self.served
