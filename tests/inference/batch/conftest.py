from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cluster():
    """One local cluster for all tests: starting it takes seconds."""
    from llmrec.inference.batch.ray_cluster import ray_cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import the tests' models
        with ray_cluster(cpus=2, object_store_bytes=80 << 20):
            yield
