"""The contract on the language models that run in this process."""

import pytest

from llmrec.inference.fake import VOCAB_SIZE, FakeLanguageModel
from llmrec.inference.hf import HFLanguageModel
from llmrec.testing import tiny_llama
from llmrec.testing.language_model import LanguageModelContract


class TestFake(LanguageModelContract):
    vocab_size = VOCAB_SIZE
    context = 200
    adapters = ("alice", "bob", "carol")
    tolerance = 1e-6

    def make(self):
        return FakeLanguageModel(adapters=self.adapters, context=self.context)


class TestHF(LanguageModelContract):
    vocab_size = tiny_llama.VOCAB_SIZE
    context = tiny_llama.CONTEXT
    adapters = ("alice@1", "bob.v2", "carol")

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _folder(cls, tmp_path_factory):
        cls.folder = tmp_path_factory.mktemp("models")

    def make(self):
        base = tiny_llama.save_tiny_llama(self.folder / "base", seed=1)
        adapters = {
            name: tiny_llama.save_tiny_adapter(self.folder / name, base, seed=n, rank=2 + n)
            for n, name in enumerate(self.adapters)
        }
        return HFLanguageModel(base, device="cpu", adapters=adapters)


class TestHFWithoutBeginning(LanguageModelContract):
    """A tokenizer that has no token to begin texts with, and batches of a few tokens."""

    vocab_size = tiny_llama.VOCAB_SIZE
    context = tiny_llama.CONTEXT
    begins_texts = False

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _folder(cls, tmp_path_factory):
        cls.folder = tmp_path_factory.mktemp("models")

    def make(self):
        base = tiny_llama.save_tiny_llama(self.folder / "base", seed=2, bos=False)
        return HFLanguageModel(base, device="cpu", token_budget=90)
