"""What holds for all tests."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Caches of vectors, neighbours and downloads stay out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_HOME", str(tmp_path_factory.mktemp("llmrec-home")))
        yield
