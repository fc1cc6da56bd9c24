"""What holds for all tests."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Caches of vectors, neighbours and downloads stay out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_HOME", str(tmp_path_factory.mktemp("llmrec-home")))
        yield


@pytest.fixture(scope="session")
def in_two_processes():
    """Runs a script in two processes on the CPU, which must end well."""

    def run(script, *arguments, timeout=240):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        done = subprocess.run(
            [sys.executable, *launch, str(script), *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return run
