"""RecLoRA keeps the recommender contract, on a base model of random weights."""

import pytest

from llmrec.recommenders.reclora import RecLoRA
from llmrec.testing.recommender import RecommenderContract
from llmrec.testing.tiny_llama import save_tiny_llama

SMALL = {
    "ctr": {
        "dim": 4,
        "hidden": (8,),
        "history": 6,
        "attention_hidden": 4,
        "training": {"epochs": 1},
    },
    "lora": {"experts": 2, "rank": 2, "alpha": 4, "gate_hidden": 4, "b_noise": 0.1},
    "item_names": "id",
    "text_history": 2,
    "answers": ("Yes", "No"),
    "max_tokens": 128,
    "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.01},
}


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory):
    folder = save_tiny_llama(tmp_path_factory.mktemp("base") / "model")
    TestRecLoRA.base = str(folder)


class TestRecLoRA(RecommenderContract):
    base = ""

    def make(self):
        return RecLoRA(base=self.base, **SMALL)
