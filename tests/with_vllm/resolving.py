"""A store of many users over a small Llama, and a vLLM server in front of it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from served import _ENVIRONMENT, _free_port, _stop, _wait_for
from transformers import AutoModelForCausalLM

from llmrec.adapters.access import Tokens
from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.vllm_resolver import KEY

SECRET = "a key for tests, of at least 32 characters"
TOKENS = Tokens(SECRET)
GATE_DIM = 6
_OPTIONS = (
    "--dtype", "float32", "--kv-cache-memory-bytes", str(2**28), "--max-logprobs", "-1",
    "--block-size", "32", "--enforce-eager", "--max-num-seqs", "64",
)  # fmt: skip


def gated_model(base: Path, seed=5) -> GatedLora:
    """Gated LoRA with experts that matter."""
    config = GatedLoraConfig(
        target_modules=("q_proj", "v_proj", "down_proj"), experts=4, rank=4, alpha=8,
        gate_dim=GATE_DIM, b_noise=0.3,
    )  # fmt: skip
    network = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    return GatedLora(network, config, str(base)).eval()


def filled_store(folder: Path, model: GatedLora, users: int) -> tuple[AdapterStore, torch.Tensor]:
    """A store of users ``u0`` ... and their states ``[users, GATE_DIM]``."""
    store = AdapterStore.create(folder, model.experts(), gate_dtype="float32")
    states = np.random.default_rng(0).normal(size=(users, GATE_DIM)).astype(np.float32) * 2
    store.put_states([f"u{number}" for number in range(users)], states)
    return store, torch.from_numpy(states)


@contextmanager
def store_server(folder: Path, base: Path, log: Path, slots: int = 8, options=_OPTIONS):
    """Yield the address of ``llmrec adapters serve``."""
    port = _free_port()
    script = Path(sys.executable).with_name("llmrec")
    command = [str(script), "adapters", "serve", str(folder), str(base), "--port", str(port)]
    command += ["--slots", str(slots), "--", *options]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | _ENVIRONMENT | {KEY: SECRET},
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def ask(address, path, body=None, token=None):
    """Status and answer of a request."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    headers |= {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{address}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, _body(answer)
    except urllib.error.HTTPError as error:
        return error.code, _body(error)


def _body(answer):
    """What was said: vLLM confirms some requests in plain words."""
    said = answer.read()
    if "json" in answer.headers.get("content-type", ""):
        try:
            return json.loads(said or b"null")
        except json.JSONDecodeError:
            pass  # vLLM 0.32 calls the words of an unloading JSON
    return said.decode()
