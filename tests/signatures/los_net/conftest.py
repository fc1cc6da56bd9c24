"""One detector for all tests that only look at it."""

import pytest
from los_net_training import QUICK

from llmrec.signatures.los_net import LOSNet
from llmrec.testing.signatures import labelled_signatures


@pytest.fixture(scope="session")
def drawn():
    """Records to learn from and records to judge on."""
    return labelled_signatures(400, seed=0), labelled_signatures(300, seed=1)


@pytest.fixture(scope="session")
def fitted(drawn):
    """A small detector trained on beginnings and on any number of columns; nobody changes it."""
    model = LOSNet(
        k=8, hidden=32, window=10, stride=5, random_k=True, random_prefix=True, training=QUICK
    )
    return model.fit(*drawn[0])
