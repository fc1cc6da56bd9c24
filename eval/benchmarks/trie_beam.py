"""Time the trie beam search: beside Hugging Face, and from 12 thousand to a million items.

Usage: ``python eval/benchmarks/trie_beam.py [constraint] [call] [scale] [--repeats N] [--threads N]
[--folder DIR] [--device cuda]``; without names, all three. ``--device`` moves both sides of
``call`` to a GPU and writes ``trie_beam_call_gpu``.

- ``constraint`` writes ``trie_beam_constraint``: 64 users x 50 beams, 3 x 256 codes, 12,000 items.
  Both sides are handed the same logits of every step and keep the best 50: we gather those of the
  children, Hugging Face adds the mask of ``PrefixConstrainedLogitsProcessor`` and takes the top 50
  of all beams. The forward pass and the log-softmax over the vocabulary are outside of the clock.
- ``call`` writes ``trie_beam_call``: the whole call on one T5 of 2 + 2 layers and width 64, random
  weights, against ``generate`` with ``prefix_allowed_tokens_fn``. Both must give the same items.
- ``scale`` writes ``trie_beam_1m``: the steps of a search at a million items, 3 x 8192 codes,
  beside those at 12,000 items, 3 x 256; the head (matrix product and log-sum-exp) apart.

Repeats of both sides alternate, each with warm caches. Semantic IDs are drawn uniformly without
repeats, logits from a normal distribution. Operations and bytes are counted beside the times; the
share of the ceiling is that of the traffic or arithmetic nobody can avoid, at measured rates.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ceiling
import numpy as np
import numpy.typing as npt
import record
import torch
import transformers
import work
from trie_beam_peer import (
    DIMENSION,
    HISTORY,
    USERS,
    WIDTH,
    call_flops,
    compare_lists,
    hf_generate,
    hf_steps,
    prefix_tokens,
    small_t5,
    whole_vocabulary,
)

from llmrec.recommenders.onerec.beam import BeamLists, Beams, StepScores, beam_search
from llmrec.recommenders.onerec.expansion import children_of
from llmrec.recommenders.onerec.t5_steps import T5Steps
from llmrec.recommenders.onerec.trie import Trie
from llmrec.runs.environment import cores

SMALL, LARGE = (12_000, (256,) * 3), (1_000_000, (8192,) * 3)


def draw_ids(items: int, sizes: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.int32]:
    """Different semantic IDs ``[items, levels]``, uniformly."""
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(0, np.prod(sizes, dtype=np.int64), int(1.01 * items) + 100))
    chosen = np.sort(rng.choice(keys, items, replace=False))
    return np.stack(np.unravel_index(chosen, sizes), axis=1).astype(np.int32)


def alternate(repeats: int, *jobs: Callable[[], Any]) -> list[list[float]]:
    """Seconds of every job, the jobs taking turns; each runs once untimed before it is timed."""
    seconds: list[list[float]] = [[] for _ in jobs]
    for _ in range(repeats):
        for times, job in zip(seconds, jobs, strict=True):
            job()
            started = time.perf_counter()
            job()
            times.append(time.perf_counter() - started)
    return seconds


# ---- the constraint and the choice of the best alone


def measure_constraint(repeats: int, folder: Path, threads: int) -> Path:
    """Our steps beside the processor and top-k of Hugging Face on the same logits."""
    items, sizes = SMALL
    ids = draw_ids(items, sizes)
    trie, allowed = Trie.build(ids, sizes), prefix_tokens(ids, sizes)
    torch.manual_seed(0)
    # beams of a user are given equal logits: the sides keep them in different orders
    logits = [
        torch.randn(USERS, 1, size).repeat(1, WIDTH if level else 1, 1)
        for level, size in enumerate(sizes)
    ]
    ours = [StepScores.of_level(step) for step in logits]
    theirs = [whole_vocabulary(step, level, sizes) for level, step in enumerate(logits)]
    found = our_steps(trie, ours)
    tokens, scores = hf_steps(allowed, theirs)
    same = trie.leaf_codes(found.leaves[..., 0]) + torch.tensor([0, 256, 512])
    if not torch.equal(same, tokens) or not torch.allclose(found.scores, scores, atol=1e-4):
        raise SystemExit("the two sides did not keep the same items.")
    mine, peer = alternate(
        repeats, lambda: our_steps(trie, ours), lambda: hf_steps(allowed, theirs)
    )
    gathered = children_looked_at(trie, ours)
    needed = 12 * gathered  # a code, a logit, a score
    share = needed / ceiling.copy_bytes() / float(np.median(mine))
    setting = {
        "users": USERS, "beams": WIDTH, "items": items, "codes": "3 x 256", "threads": threads,
        "children_gathered": gathered,
        "needed_bytes": needed,
        "peer_mask_bytes": 4 * USERS * (1 + 2 * WIDTH) * sum(sizes),
    }  # fmt: skip
    return record.write_benchmark(
        "trie_beam_constraint",
        setting,
        mine,
        ("transformers PrefixConstrainedLogitsProcessor + topk", transformers.__version__, peer),
        share,
        details={"ours": mine, "peer": peer},
        folder=folder,
    )


def our_steps(trie: Trie, steps: list[StepScores], items: int = 1) -> BeamLists:
    """All steps of a search on scores given beforehand."""
    beams = Beams(trie, USERS, WIDTH, items)
    for scores in steps:
        beams.advance(scores)
    return beams.lists()


def children_looked_at(trie: Trie, steps: list[StepScores]) -> int:
    """How many children all beams of all steps have."""
    beams, total = Beams(trie, USERS, WIDTH), 0
    for scores in steps:
        found = children_of(trie, beams.level, beams._nodes, beams._dead)
        total += int(found.count.sum())
        beams.advance(scores)
    return total


# ---- the whole call


def measure_call(repeats: int, folder: Path, threads: int, device: str = "cpu") -> Path:
    """A whole search on a small T5 beside ``generate``."""
    items, sizes = SMALL
    ids = draw_ids(items, sizes)
    first = (1, 257, 513)
    model = small_t5(sum(sizes) + 1).to(device)
    trie, steps = Trie.build(ids, sizes).to(device), T5Steps(model, first, sizes)
    tokens = torch.randint(1, sum(sizes) + 1, (USERS, HISTORY)).to(device)
    allowed = {
        tuple(token + 1 for token in prefix): [token + 1 for token in found]
        for prefix, found in prefix_tokens(ids, sizes).items()
    }

    def ours() -> BeamLists:
        found = beam_search(steps, steps.encode(tokens), trie, users=USERS, width=WIDTH)
        return BeamLists(found.leaves.cpu(), found.scores.cpu())  # waits for the device

    def theirs() -> Any:
        found = hf_generate(model, tokens, allowed)
        found.sequences, found.sequences_scores = (
            found.sequences.cpu(),
            found.sequences_scores.cpu(),
        )
        return found

    agreement = compare_lists(ours(), theirs(), trie.to("cpu"), first, ids)
    mine, peer = alternate(repeats, ours, theirs)
    flops = call_flops(model, len(sizes))
    share = None
    if device == "cpu":
        size = 4.0 * sum(p.numel() for p in model.parameters())
        floor = work.seconds_at_ceiling(flops, size, _peak(), ceiling.copy_bytes())
        share = floor / float(np.median(mine))
    setting = {
        "users": USERS, "beams": WIDTH, "items": items, "codes": "3 x 256", "threads": threads,
        "model": "T5, 2 + 2 layers, width 64, random weights", "history_tokens": HISTORY,
        "needed_flops": flops, **agreement,
    }  # fmt: skip
    if device != "cpu":
        setting["device"] = torch.cuda.get_device_name()
    return record.write_benchmark(
        "trie_beam_call" if device == "cpu" else "trie_beam_call_gpu",
        setting,
        mine,
        ("transformers generate with prefix_allowed_tokens_fn", transformers.__version__, peer),
        share,
        {"ours": mine, "peer": peer},
        folder,
    )


def _peak() -> float:
    return ceiling.matmul_flops(2048, 2048, 2048, torch.float32)


# ---- a million items


def measure_scale(repeats: int, folder: Path, threads: int) -> Path:
    """Steps of the search at both sizes, and the head at a million items."""
    small, large = Search(*SMALL), Search(*LARGE)
    jobs = [lambda: our_steps(large.trie, large.steps), lambda: our_steps(small.trie, small.steps)]
    seconds = alternate(repeats, *jobs)
    by_step = {name: s.seconds_by_step(repeats) for name, s in (("1m", large), ("12k", small))}
    medians = [float(np.median(times)) for times in seconds]
    head = large.seconds_of_head(max(1, repeats // 5))
    setting: dict[str, Any] = {
        "users": USERS, "beams": WIDTH, "items": LARGE[0], "codes": "3 x 8192", "threads": threads,
        "times_12k": round(medians[0] / medians[1], 3),
        "trie_mib": round(large.trie.nbytes / 2**20, 2),
        "build_seconds": round(large.build, 3),
        "head_seconds": round(head, 4),
        "children_1m": children_looked_at(large.trie, large.steps),
        "children_12k": children_looked_at(small.trie, small.steps),
    }  # fmt: skip
    for step in range(3):
        setting[f"step{step + 1}_times_12k"] = round(by_step["1m"][step] / by_step["12k"][step], 3)
    return record.write_benchmark(
        "trie_beam_1m",
        setting,
        seconds[0],
        ("the same search at 12,000 items, 3 x 256", "this version", seconds[1]),
        details={"1m": seconds[0], "12k": seconds[1], "by_step": by_step},
        folder=folder,
    )


class Search:
    """A trie, and scores for every step of a search in it."""

    def __init__(self, items: int, sizes: tuple[int, ...]) -> None:
        ids = draw_ids(items, sizes)
        started = time.perf_counter()
        self.trie = Trie.build(ids, sizes)
        self.build = time.perf_counter() - started
        torch.manual_seed(0)
        self.steps = [
            StepScores.of_level(torch.randn(USERS, WIDTH if level else 1, size))
            for level, size in enumerate(sizes)
        ]

    def seconds_by_step(self, repeats: int) -> list[float]:
        """Median seconds of every step."""
        seconds: list[list[float]] = [[] for _ in self.steps]
        for turn in range(-1, repeats):
            beams = Beams(self.trie, USERS, WIDTH)
            for times, scores in zip(seconds, self.steps, strict=True):
                started = time.perf_counter()
                beams.advance(scores)
                if turn >= 0:
                    times.append(time.perf_counter() - started)
        return [float(np.median(times)) for times in seconds]

    def seconds_of_head(self, repeats: int) -> float:
        """Product with the codes' vectors and log-sum-exp of all steps, at width 64."""
        hidden = [torch.randn(scores.log_normalizer.numel(), DIMENSION) for scores in self.steps]
        tables = [torch.randn(size, DIMENSION) for size in self.trie.sizes]

        def head() -> None:
            for states, table in zip(hidden, tables, strict=True):
                StepScores.of_level(states @ table.T)

        return float(np.median(alternate(repeats, head)[0]))


MEASURES = {"constraint": measure_constraint, "call": measure_call, "scale": measure_scale}


def measure(
    names: tuple[str, ...] = tuple(MEASURES),
    repeats: int = 11,
    threads: int | None = None,
    folder: Path = record.RESULTS,
    device: str = "cpu",
) -> list[Path]:
    """Take the named measurements and write their records."""
    threads = threads or cores()
    torch.set_num_threads(threads)
    with torch.inference_mode():
        if device != "cpu":
            return [measure_call(repeats, folder, threads, device)]
        return [MEASURES[name](repeats, folder, threads) for name in names]


def main() -> None:
    """Run what was named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=record.RESULTS)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for call")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(MEASURES)):
        parser.error(f"unknown benchmark {unknown}; known are {', '.join(MEASURES)}.")
    names = tuple(given.names) or tuple(MEASURES)
    for path in measure(names, given.repeats, given.threads, given.folder, given.device):
        print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    main()
