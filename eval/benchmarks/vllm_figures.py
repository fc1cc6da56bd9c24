"""Time vLLM on this processor: signatures beside plain answers, and many adapters beside none.

Usage, in the environment of ``make install-vllm``:
``.venv-vllm/bin/python eval/benchmarks/vllm_figures.py [signatures] [adapters] [--width N]
[--repeats N] [--folder F]``.

``signatures`` writes ``vllm_signatures_k20`` and ``vllm_signatures_k100``: 64 answers of 64 tokens
to prompts of 32, with the K most probable tokens of each position, beside the same answers without
a record (which still sum their log-probabilities). ``adapters`` writes ``vllm_adapters``: 64
prompts of 32 tokens, 16 tokens of an answer each, two prompts for each of 32 adapters of rank 8 on
all linear layers, beside the same prompts on an engine without room for adapters, and beside the
same engine with no adapter asked for. The model has random weights, float32; answers do not end
early, and prompts are new in every repeat, so nothing is kept from earlier. The two sides of a
comparison take turns. Nothing here says how vLLM does on a GPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmrec.inference.requests import Decoding, GenerateRequest
from llmrec.inference.vllm_engine import VLLMLanguageModel
from llmrec.inference.vllm_identity import vllm_version
from llmrec.runs.environment import cores

_VOCABULARY, _PROMPT, _REQUESTS = 8192, 32, 64
_ADAPTERS, _RANK = 32, 8
_ANSWER = {"signatures": 64, "adapters": 16}
_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

Work = Callable[[], float]


def save_model(folder: Path, width: int) -> Path:
    """Write a Llama of 8 layers with random weights, and a tokenizer with one word per token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=8,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 128,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {"<s>": 0, "</s>": 1} | {f"w{n}": n for n in range(2, _VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


def save_adapters(folder: Path, base: Path) -> dict[str, Path]:
    """Write adapters with random weights."""
    model = LlamaForCausalLM.from_pretrained(base)
    config = LoraConfig(r=_RANK, lora_alpha=2 * _RANK, target_modules=_LAYERS)
    adapted = get_peft_model(model, config)
    found = {}
    for number in range(_ADAPTERS):
        torch.manual_seed(number)
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, std=0.02)
        found[f"user{number}"] = folder / f"user{number}"
        adapted.save_pretrained(str(found[f"user{number}"]))
    return found


def timed(model: VLLMLanguageModel, rng: np.random.Generator, tokens: int, **asked: Any) -> float:
    """Seconds for one batch of new prompts; ``adapters`` are dealt out among them."""
    adapters = asked.pop("adapters", [None])
    requests = [
        GenerateRequest(
            " ".join(f"w{n}" for n in rng.integers(2, _VOCABULARY, _PROMPT)),
            Decoding(max_tokens=tokens, ignore_eos=True),
            adapter=adapters[place % len(adapters)],
            **asked,
        )
        for place in range(_REQUESTS)
    ]
    start = time.perf_counter()
    answers = model.generate(requests)
    seconds = time.perf_counter() - start
    if any(answer.tokens != tokens for answer in answers):
        raise RuntimeError(f"an answer is not whole: {answers[0].error}")
    return seconds


def in_turns(works: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Seconds of each kind of work, taking turns, after one round that does not count."""
    for work in works.values():
        work()
    return {
        name: list(seconds)
        for name, seconds in zip(
            works,
            zip(*([work() for work in works.values()] for _ in range(repeats)), strict=True),
            strict=True,
        )
    }


def measure_signatures(base: Path, folder: Path, repeats: int, about: dict[str, Any]) -> None:
    """Answers with a record of 20 and of 100 columns, beside answers without."""
    rng, tokens = np.random.default_rng(0), _ANSWER["signatures"]
    with VLLMLanguageModel(base, dtype="float32") as model:
        works = {str(k): _signatures(model, rng, tokens, k) for k in (0, 20, 100)}
        found = in_turns(works, repeats)
    for k in ("20", "100"):
        _write(
            f"vllm_signatures_k{k}",
            {**about, "k": int(k), "answer_tokens": tokens},
            found[k],
            ("vLLM, the same answers without a record", found["0"]),
            found,
            folder,
        )


def measure_adapters(base: Path, folder: Path, repeats: int, about: dict[str, Any]) -> None:
    """Requests over many adapters in one batch, beside an engine that has none."""
    rng, tokens = np.random.default_rng(1), _ANSWER["adapters"]
    adapters = save_adapters(base.parent / "adapters", base)
    with (
        VLLMLanguageModel(base, dtype="float32") as plain,
        VLLMLanguageModel(
            base, dtype="float32", adapters=adapters, lora_slots=_ADAPTERS
        ) as adapted,
    ):
        works = {
            "no room for adapters": lambda: timed(plain, rng, tokens),
            "room, none asked for": lambda: timed(adapted, rng, tokens),
            "32 adapters": lambda: timed(adapted, rng, tokens, adapters=list(adapters)),
        }
        found = in_turns(works, repeats)
    _write(
        "vllm_adapters",
        {**about, "adapters": _ADAPTERS, "rank": _RANK, "answer_tokens": tokens},
        found["32 adapters"],
        ("vLLM, the same prompts on an engine without adapters", found["no room for adapters"]),
        found,
        folder,
    )


def _signatures(model: VLLMLanguageModel, rng: np.random.Generator, tokens: int, k: int) -> Work:
    return lambda: timed(model, rng, tokens, logprobs=k)


def _write(
    name: str,
    setting: dict[str, Any],
    ours: list[float],
    peer: tuple[str, list[float]],
    details: dict[str, list[float]],
    folder: Path,
) -> None:
    label, seconds = peer
    record.write_benchmark(
        name, setting, ours, (label, vllm_version(), seconds), details=details, folder=folder
    )
    slower = 1 / record.ratio(ours, seconds)["median"]
    print(f"{name}: {slower:.2f} times the time of {label}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["signatures", "adapters"])
    parser.add_argument("--width", type=int, default=512, help="hidden size, a multiple of 128")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    given = parser.parse_args()
    measures = {"signatures": measure_signatures, "adapters": measure_adapters}
    with tempfile.TemporaryDirectory() as place:
        base = save_model(Path(place) / "base", given.width)
        about = {
            "requests": _REQUESTS,
            "prompt_tokens": _PROMPT,
            "vocabulary": _VOCABULARY,
            "hidden": given.width,
            "layers": 8,
            "dtype": "float32",
            "cores": cores(),
            "vllm": vllm_version(),
        }
        for what in given.what:
            measures[what](base, given.folder, given.repeats, about)


if __name__ == "__main__":
    main()
