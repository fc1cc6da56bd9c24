"""The contract on vLLM's offline engine."""

import pytest

from llmrec.testing import tiny_llama
from llmrec.testing.language_model import LanguageModelContract

pytestmark = pytest.mark.vllm


class TestVLLM(LanguageModelContract):
    vocab_size = tiny_llama.VOCAB_SIZE
    context = tiny_llama.CONTEXT
    adapters = ("alice@1", "bob.v2", "carol")
    hottest = 2.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _engine(cls, engine):
        cls.engine = engine

    def make(self):
        return self.engine


class TestVLLMWithoutBeginning(LanguageModelContract):
    """A tokenizer that has no token to begin texts with, and an engine without adapters."""

    vocab_size = tiny_llama.VOCAB_SIZE
    context = tiny_llama.CONTEXT
    begins_texts = False
    hottest = 2.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _engine(cls, plain_engine):
        cls.engine = plain_engine

    def make(self):
        return self.engine
