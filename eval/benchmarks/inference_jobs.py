"""What the inference benchmarks run: the same questions, asked our way and other ways.

A :class:`Comparison` holds jobs that can be called again and again, and says what they need. Each
job gives the log-probabilities that it found, so that equal work can be checked, or None where
answers are sampled from near-ties and only the time counts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.hf_batches import left_padded
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.testing.sized_llama import LlamaShape, pairs_behind, random_text

SMALL = LlamaShape()
"""31 million weights: matrix products take most of the time, and a repeat takes seconds."""

TINY = LlamaShape(192, 512, 3, 6, 6, vocab_size=2048, head_dim=32)
"""1.7 million weights, the size of the embedded model."""

Logprobs = npt.NDArray[np.float64]
Job = Callable[[], Logprobs | None]


@dataclass
class Comparison:
    """Jobs that are timed in turn.

    Attributes:
        setting: What exactly they do.
        jobs: By name; ours is ``"ours"``.
        flops: Operations that ours needs at least.
        traffic: Bytes of weights that ours has to read at least: all of them once per pass.
        repeats: How often each is timed; None for the caller's number.
    """

    setting: dict[str, str | int | float | bool]
    jobs: dict[str, Job]
    flops: float
    traffic: float
    repeats: int | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def about(shape: LlamaShape) -> dict[str, str | int | float | bool]:
    """The shape of a model, for a setting."""
    names = ("width", "feed_forward", "layers", "heads", "kv_heads", "vocab_size")
    return {name: getattr(shape, name) for name in names} | {"weights": shape.weights}


def shared_prefix(
    folder: Path, shape: LlamaShape, prompt: int = 400, continuations: int = 100, tokens: int = 10
) -> Comparison:
    """Continuations of one prompt, against one forward pass over prompt and continuation each."""
    rng = np.random.default_rng(0)
    text = random_text(prompt, shape.vocab_size, rng)
    texts = tuple(random_text(tokens, shape.vocab_size, rng) for _ in range(continuations))
    model = HFLanguageModel(folder, device="cpu")
    network = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = _tokenizer(folder)
    rows = [torch.tensor([tokenizer(text + each)["input_ids"]]) for each in texts]

    def ours() -> Logprobs:
        (found,) = model.score([ScoreRequest(text, texts)])
        return np.array([each.logprob for each in found.texts])

    @torch.inference_mode()
    def one_forward_each() -> Logprobs:
        found = []
        for ids in rows:
            logits = network(input_ids=ids, logits_to_keep=tokens + 1).logits[0, :-1]
            chosen = logits.log_softmax(-1).gather(1, ids[0, -tokens:, None])
            found.append(chosen.double().sum().item())
        return np.array(found)

    fed = prompt + continuations * (tokens - 1)  # nothing is predicted from a last token
    pairs = pairs_behind(0, prompt) + continuations * pairs_behind(prompt, tokens - 1)
    scored = 1 + continuations * (tokens - 1)
    return Comparison(
        about(shape) | {"prompt": prompt, "continuations": continuations, "tokens": tokens},
        {"ours": ours, "one forward each": one_forward_each},
        shape.forward_flops(fed, pairs, scored),
        4.0 * shape.weights,
    )


def by_length(
    folder: Path, shape: LlamaShape, prompts: int = 2000, rows: int = 32, longest: int = 512
) -> Comparison:
    """Score one token after prompts of mixed lengths, against batches in the order of arrival."""
    lengths = log_uniform(prompts, 16, longest)
    rng = np.random.default_rng(1)
    requests = [
        ScoreRequest(random_text(n, shape.vocab_size, rng), (chr(0x20001),)) for n in lengths
    ]
    model = HFLanguageModel(folder, device="cpu")
    unsorted = HFLanguageModel(folder, device="cpu", token_budget=rows * (longest + 1))

    def ours() -> Logprobs:
        return _first_logprobs(model, requests)

    def arrival_order() -> Logprobs:
        parts = [requests[start : start + rows] for start in range(0, prompts, rows)]
        return np.concatenate([_first_logprobs(unsorted, part) for part in parts])

    tokens, pairs = int(lengths.sum()), sum(pairs_behind(0, int(n)) for n in lengths)
    padded = sum(
        int(part.max()) * len(part) for part in np.split(lengths, range(rows, prompts, rows))
    )
    return Comparison(
        about(shape)
        | {"prompts": prompts, "tokens": tokens, "arrival_rows": rows, "arrival_tokens": padded},
        {"ours": ours, "arrival order": arrival_order},
        shape.forward_flops(tokens, pairs, prompts),
        4.0 * shape.weights,
    )


def log_uniform(n: int, least: int, most: int) -> npt.NDArray[np.int64]:
    """``n`` whole numbers whose logarithm is uniform, the same ones every time."""
    drawn = np.random.default_rng(0).uniform(np.log(least), np.log(most + 1), n)
    lengths: npt.NDArray[np.int64] = np.exp(drawn).astype(np.int64)
    return lengths


def mixed_adapters(
    folder: Path,
    shape: LlamaShape,
    targets: tuple[str, ...],
    requests: int = 64,
    adapters: int = 32,
    prompt: int = 32,
    rank: int = 8,
) -> Comparison:
    """Score one token after short prompts, every second request with another adapter."""
    names = [f"user{number}" for number in range(adapters)]
    folders = _save_adapters(folder, names, targets, rank)
    rng = np.random.default_rng(2)
    texts = [random_text(prompt, shape.vocab_size, rng) for _ in range(requests)]
    used = [names[number % adapters] for number in range(requests)]
    asked = [
        ScoreRequest(text, (chr(0x20001),), adapter=name)
        for text, name in zip(texts, used, strict=True)
    ]
    bare = [ScoreRequest(text, (chr(0x20001),)) for text in texts]
    plain = HFLanguageModel(folder, device="cpu")
    model = HFLanguageModel(folder, device="cpu", adapters=folders)
    theirs = _peft_model(folder, folders)
    ids, mask = left_padded(_tokenizer(folder)(texts)["input_ids"], torch.device("cpu"))

    def one_at_a_time() -> Logprobs:
        found = np.empty(requests)
        for name in names:
            rows = [row for row in range(requests) if used[row] == name]
            found[rows] = _first_logprobs(model, [asked[row] for row in rows])
        return found

    @torch.inference_mode()
    def peft_mixed() -> Logprobs:
        given = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": 1}
        logits = theirs(**given, adapter_names=used).logits[:, -1]
        found: Logprobs = logits.log_softmax(-1)[:, 1].double().numpy()
        return found

    def un_adapted() -> None:
        _first_logprobs(plain, bare)

    low_rank = _low_rank_flops(shape, targets, rank) * requests * prompt
    pairs = requests * pairs_behind(0, prompt)
    return Comparison(
        about(shape)
        | {
            "requests": requests,
            "adapters": adapters,
            "prompt": prompt,
            "rank": rank,
            "targets": " ".join(targets),
        },
        {
            "ours": lambda: _first_logprobs(model, asked),
            "un-adapted batch": un_adapted,
            "peft mixed batch": peft_mixed,
            "one adapter at a time": one_at_a_time,
        },
        shape.forward_flops(requests * prompt, pairs, requests) + low_rank,
        4.0 * shape.weights,
    )


def signatures(
    folder: Path, shape: LlamaShape, k: int, prompts: int = 32, prompt: int = 64, tokens: int = 48
) -> Comparison:
    """Generate with a record of the K most probable tokens, against generating without."""
    rng = np.random.default_rng(3)
    texts = [random_text(prompt, shape.vocab_size, rng) for _ in range(prompts)]
    model = HFLanguageModel(folder, device="cpu")
    decoding = Decoding(max_tokens=tokens, ignore_eos=True)

    def generate(width: int) -> Job:
        requests = [GenerateRequest(text, decoding, logprobs=width) for text in texts]
        return lambda: np.array([found.logprob for found in model.generate(requests)])

    fed, passes = prompts * (prompt + tokens - 1), tokens
    pairs = prompts * pairs_behind(0, prompt + tokens - 1)
    return Comparison(
        about(shape) | {"k": k, "prompts": prompts, "prompt": prompt, "tokens": tokens},
        {"ours": generate(k), "plain generation": generate(0)},
        shape.forward_flops(fed, pairs, prompts * tokens),
        4.0 * shape.weights * passes,
        repeats=7,
    )


def _first_logprobs(model: HFLanguageModel, requests: list[ScoreRequest]) -> Logprobs:
    return np.array([found.texts[0].logprob for found in model.score(requests)])


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _save_adapters(
    folder: Path, names: list[str], targets: tuple[str, ...], rank: int
) -> dict[str, Path]:
    """Write adapters of random weights beside the model."""
    network = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets))
    adapted = get_peft_model(network, config)
    found = {}
    torch.manual_seed(0)
    for name in names:
        with torch.no_grad():
            for path, weight in adapted.named_parameters():
                if "lora_" in path:
                    weight.normal_(std=0.02)
        found[name] = folder.parent / f"{folder.name}-{len(targets)}-{name}"
        adapted.save_pretrained(str(found[name]))
    return found


def _peft_model(folder: Path, folders: dict[str, Path]) -> PeftModel:
    (first, path), *others = folders.items()
    network = AutoModelForCausalLM.from_pretrained(folder)
    model = PeftModel.from_pretrained(network, str(path), adapter_name=first)
    for name, path in others:
        model.load_adapter(str(path), name)
    return model.eval()


def _low_rank_flops(shape: LlamaShape, targets: tuple[str, ...], rank: int) -> int:
    """Operations of two thin matrices per adapted layer and token."""
    h, i, q, kv = (
        shape.width,
        shape.feed_forward,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
    )
    sides = {
        "q_proj": h + q, "k_proj": h + kv, "v_proj": h + kv, "o_proj": q + h,
        "gate_proj": h + i, "up_proj": h + i, "down_proj": i + h,
    }  # fmt: skip
    return 2 * rank * shape.layers * sum(sides[name] for name in targets)
