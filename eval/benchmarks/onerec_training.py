"""Time training steps of the generator beside Hugging Face's T5 of equal size and batch.

Usage: ``python eval/benchmarks/onerec_training.py [--repeats N] [--threads N] [--folder DIR]
[--device cuda]``.

- ``onerec_training`` : the encoder-decoder without experts, one item after a history, against a T5
  with gated feed-forward layers of the same widths. Both read the same histories (four tokens an
  item), learn the same three codes, and are stepped by the same fused AdamW, with dropout 0.1.
- ``onerec_training_experts`` : the same generator with 4 experts of half the width of its
  feed-forward layer, of which a token takes two, beside the one without: the price of routing.

The histories are drawn: lengths geometric with a mean of 8 and a limit of 20, codes uniform.
Padding counts for nothing in the tokens per second; both pad to the longest of a batch. Repeats
alternate between the sides. Written per side: seconds of a step.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import transformers
from torch import Tensor, nn

from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.network import Generator, SessionBatch
from llmrec.runs.environment import cores
from llmrec.training.allocator import keep_freed_memory

ROWS, LONGEST, MEAN = 256, 20, 8
SIZES, ITEMS = (256,) * 3, 12_000
DIM, HEADS, LAYERS, FEED_FORWARD, DROPOUT = 64, 4, 2, 256, 0.1
EXPERTS, PER_TOKEN = 4, 2

Step = Callable[[], None]


def draw(seed: int = 0) -> tuple[Tensor, SessionBatch]:
    """Codes of all items ``[items, 3]``, and a batch of histories with the item that followed."""
    rng = np.random.default_rng(seed)
    codes = torch.from_numpy(rng.integers(0, SIZES[0], (ITEMS, len(SIZES))))
    lengths = np.minimum(rng.geometric(1 / MEAN, ROWS), LONGEST)
    history = rng.integers(1, ITEMS + 1, (ROWS, int(lengths.max())))
    history *= np.arange(history.shape[1]) < lengths[:, None]
    session = torch.from_numpy(rng.integers(1, ITEMS + 1, (ROWS, 1)))
    return codes, SessionBatch(torch.from_numpy(history), session, session > 0, len(SIZES))


def generator_of(codes: Tensor, experts: int = 0) -> Generator:
    """Our network in TIGER's form."""
    config = GeneratorConfig(
        dim=DIM,
        heads=HEADS,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        feed_forward=FEED_FORWARD,
        experts=experts,
        expert_width=FEED_FORWARD // PER_TOKEN,
        experts_per_token=PER_TOKEN,
        dropout=DROPOUT,
        history=LONGEST,
    )
    return Generator(config, codes, SIZES)


def t5_of_equal_size() -> Any:
    """Layers of the same widths; the vocabulary is padding, separator and all codes."""
    config = transformers.T5Config(
        vocab_size=2 + sum(SIZES), d_model=DIM, d_kv=DIM // HEADS, d_ff=FEED_FORWARD,
        num_layers=LAYERS, num_heads=HEADS, feed_forward_proj="gated-silu", dropout_rate=DROPOUT,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def t5_inputs(codes: Tensor, batch: SessionBatch) -> dict[str, Tensor]:
    """The same batch as tokens: a separator and three codes per item, labels of three codes."""
    tokens = codes + torch.tensor([0, *SIZES[:-1]]).cumsum(0) + 2
    history = batch.history
    items = tokens[(history - 1).clamp_min(0)]
    items = torch.cat([torch.ones(*history.shape, 1, dtype=torch.int64), items], dim=2)
    mask = (history > 0)[..., None].expand(-1, -1, 4).flatten(1).long()
    return {
        "input_ids": items.flatten(1) * mask,
        "attention_mask": mask,
        "labels": tokens[batch.session[:, 0] - 1],
    }


def step_of(module: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """One training step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    module.train()

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def alternate(repeats: int, steps: list[Step]) -> list[list[float]]:
    """Seconds of every step, the sides taking turns after three untimed rounds."""
    seconds: list[list[float]] = [[] for _ in steps]
    for turn in range(-3, repeats):
        for times, step in zip(seconds, steps, strict=True):
            started = time.perf_counter()
            step()
            if turn >= 0:
                times.append(time.perf_counter() - started)
    return seconds


def measure(
    repeats: int = 40,
    threads: int | None = None,
    folder: Path = record.RESULTS,
    device: str = "cpu",
) -> list[Path]:
    """Take both measurements and write their records."""
    threads = threads or cores()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_freed_memory()  # for both sides
    codes, batch = draw()
    plain, mixed = generator_of(codes).to(device), generator_of(codes, EXPERTS).to(device)
    peer = t5_of_equal_size().to(device)
    inputs = {name: value.to(device) for name, value in t5_inputs(codes, batch).items()}
    batch = batch.to(torch.device(device))
    sides = [
        step_of(plain, lambda: plain(batch) / batch.n_targets),
        step_of(peer, lambda: peer(**inputs).loss),
        step_of(mixed, lambda: mixed(batch) / batch.n_targets),
    ]
    ours, theirs, routed = alternate(repeats, sides)
    tokens = int((batch.history > 0).sum()) * 4 + batch.n_targets
    setting: dict[str, Any] = {
        "rows": ROWS, "tokens": tokens, "width": DIM, "layers": f"{LAYERS} + {LAYERS}",
        "feed_forward": FEED_FORWARD, "threads": threads, "device": device,
        "tokens_per_second": round(tokens / float(np.median(ours))),
    }  # fmt: skip
    layers = weights_of_layers(plain), weights_of_layers(peer)
    name = "onerec_training" if device == "cpu" else "onerec_training_gpu"
    version = transformers.__version__
    compared = {"our_layer_weights": layers[0], "peer_layer_weights": layers[1]}
    routing = {"experts": EXPERTS, "experts_per_token": PER_TOKEN}
    first = record.write_benchmark(
        name, setting | compared, ours, ("transformers T5", version, theirs), folder=folder,
        details={"ours": ours, "peer": theirs},
    )  # fmt: skip
    setting["tokens_per_second"] = round(tokens / float(np.median(routed)))
    peer_name = ("the same generator without experts", "this version", ours)
    second = record.write_benchmark(
        f"{name}_experts", setting | routing, routed, peer_name, folder=folder,
        details={"experts": routed, "without": ours},
    )  # fmt: skip
    return [first, second]


def weights_of_layers(module: nn.Module) -> int:
    """Weights of matrices outside of tables of embeddings and of what chooses codes."""
    left_out = ("shared", "lm_head", "heads", "code_vectors", "places", "recency", "bias")
    return sum(
        weight.numel()
        for name, weight in module.named_parameters()
        if weight.ndim > 1 and not any(part in name for part in left_out)
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for path in measure(given.repeats, given.threads, given.folder, given.device):
        print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    main()
