"""Measure scoring and generating with transformers on one GPU, on Llamas with random weights.

    python scripts/gpu_inference.py                          # 1B and 8B, bfloat16, the first GPU
    python scripts/gpu_inference.py --shapes 1b --output one.json
    python scripts/gpu_inference.py --tiny --device cpu      # to see that it runs
    python eval/benchmarks/gpu_inference.py one.json         # afterwards: into eval/results

What such models say means nothing; the time it takes is that of trained ones. Nothing is downloaded
and vLLM is not needed. Operations are counted by formula (llmrec.testing.sized_llama) and divided
by the best measured rate of a large matrix product in the same number format. A first, smaller
call is not timed. The result is printed; with --output it is written after every job, so that what
was measured stays when time runs out, and --seconds makes jobs repeat less near the end.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec.errors import ConfigError, run_script
from llmrec.runs.environment import source_commit
from llmrec.storage import write_json
from llmrec.testing.sized_llama import (
    LlamaShape,
    character_tokenizer,
    pairs_behind,
    random_text,
)

if TYPE_CHECKING:
    import torch

    from llmrec.inference.hf import HFLanguageModel

SHAPES = {
    "1b": LlamaShape(2048, 8192, 16, 32, 8, vocab_size=128_256, context=8192, head_dim=64),
    "8b": LlamaShape(4096, 14_336, 32, 32, 8, vocab_size=128_256, context=8192, head_dim=128),
    "tiny": LlamaShape(64, 128, 2, 2, 1, vocab_size=512, context=256, head_dim=32),
}
# prompts to score and their tokens; prompts to continue, their tokens, and those of an answer
WORK = {"1b": (512, 512, 128, 128, 128), "8b": (128, 512, 128, 128, 128), "tiny": (8, 24, 4, 8, 6)}
K, REPEATS, SEED = 20, 3, 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure inference with transformers on one GPU.")
    parser.add_argument("--shapes", nargs="+", default=["1b", "8b"], choices=["1b", "8b"])
    parser.add_argument("--tiny", action="store_true", help="a tiny model and little work")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="default: bfloat16")
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="repeat nothing after so long"
    )
    return parser.parse_args()


def main() -> None:
    """Read the arguments and measure."""
    arguments = parse_arguments()
    until = time.monotonic() + arguments.seconds
    import torch

    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no GPU here; try --tiny --device cpu.")
    dtype = getattr(torch, arguments.dtype or "bfloat16")

    # ---- the ceiling ----
    rate = matmul_rate(device, dtype, 256 if arguments.tiny else 8192)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "matmul_tflops": rate / 1e12,
        "commit": source_commit() or "uncommitted",
        "models": {},
    }
    for name in ["tiny"] if arguments.tiny else arguments.shapes:
        if time.monotonic() > until:
            break
        model: dict[str, Any] = {"weights": SHAPES[name].weights, "jobs": {}}
        found["models"][name] = model
        for job, figures in measure(SHAPES[name], device, dtype, rate, WORK[name], until):
            model["jobs"][job] = figures
            if arguments.output:
                write_json(arguments.output, found)
    print(json.dumps(found, indent=2))


def measure(
    shape: LlamaShape,
    device: "torch.device",
    dtype: "torch.dtype",
    rate: float,
    work: tuple[int, int, int, int, int],
    until: float,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokens per second, share of the matrix rate and peak memory of each job of a model."""
    import torch

    from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest

    model = random_model(shape, device, dtype)
    texts, length, prompts, prompt, answer = work
    rng = np.random.default_rng(SEED)

    # ---- score: a token after each of many prompts ----
    one = random_text(1, shape.vocab_size, rng)
    scores = [
        ScoreRequest(random_text(length, shape.vocab_size, rng), (one,)) for _ in range(texts)
    ]
    flops = shape.forward_flops(texts * length, texts * pairs_behind(0, length), texts)
    sizes: dict[str, int] = {"prompt_tokens": length, "continuation_tokens": 1}
    figures = timed(model.score, scores, texts * length, flops, rate, device, until)
    yield "score", sizes | figures

    # ---- generate: answers of full length, without and with a record ----
    asked = [random_text(prompt, shape.vocab_size, rng) for _ in range(prompts)]
    decoding = Decoding(max_tokens=answer, ignore_eos=True)
    fed = prompts * (prompt + answer - 1)
    pairs = prompts * pairs_behind(0, prompt + answer - 1)
    flops = shape.forward_flops(fed, pairs, prompts * answer)
    sizes = {"prompt_tokens": prompt, "answer_tokens": answer}
    for name, k in (("generate", 0), (f"generate_k{K}", K)):
        requests = [GenerateRequest(text, decoding, logprobs=k) for text in asked]
        figures = timed(model.generate, requests, prompts * answer, flops, rate, device, until)
        yield name, sizes | figures
    del model
    if device.type == "cuda":
        torch.cuda.empty_cache()


def random_model(
    shape: LlamaShape, device: "torch.device", dtype: "torch.dtype"
) -> "HFLanguageModel":
    """A model whose weights are drawn where they stay."""
    import torch
    from transformers import LlamaForCausalLM

    from llmrec.inference.hf import HFLanguageModel

    torch.manual_seed(SEED)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            network = LlamaForCausalLM(shape.config())
    finally:
        torch.set_default_dtype(before)
    return HFLanguageModel.of_network(network, character_tokenizer(shape.vocab_size))


def timed(
    ask: Callable[[Any], list[Any]],
    requests: list[Any],
    tokens: int,
    flops: float,
    rate: float,
    device: "torch.device",
    until: float,
) -> dict[str, Any]:
    """Ask all requests a few times; the median counts, and the most memory of any time."""
    import torch

    on_gpu = device.type == "cuda"
    ask(requests[: max(1, len(requests) // 8)])
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    while not seconds or (len(seconds) < REPEATS and time.monotonic() < until):
        started = time.perf_counter()
        answers = ask(requests)  # results are in main memory, so the GPU is done
        seconds.append(time.perf_counter() - started)
        if failed := [answer.error for answer in answers if answer.error is not None]:
            raise ConfigError(f"{len(failed)} requests failed, so no times: {failed[0]}")
    return {
        "requests": len(requests),
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / median(seconds),
        "share_of_matmul": flops / median(seconds) / rate,
        "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else 0.0,
    }


def matmul_rate(device: "torch.device", dtype: "torch.dtype", size: int) -> float:
    """Best measured operations per second of a square matrix product."""
    import torch

    left = torch.randn(size, size, device=device, dtype=dtype)
    right = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        product = left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    del product
    return 2.0 * size**3 / best


if __name__ == "__main__":
    run_script(main)
