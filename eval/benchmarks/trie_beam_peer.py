"""The side of Hugging Face in the benchmark of the trie beam search, and what both must agree on.

``PrefixConstrainedLogitsProcessor`` with the top-k that ``generate`` takes, and ``generate`` itself
with ``prefix_allowed_tokens_fn``, as their documentation has them used.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor
from transformers.generation.logits_process import PrefixConstrainedLogitsProcessor

from llmrec.recommenders.onerec.beam import BeamLists
from llmrec.recommenders.onerec.trie import Trie

USERS, WIDTH, HISTORY, DIMENSION = 64, 50, 60, 64

AllowedTokens = dict[tuple[int, ...], list[int]]


def prefix_tokens(ids: npt.NDArray[np.int32], sizes: tuple[int, ...]) -> AllowedTokens:
    """The dictionary that users of ``generate`` write: prefix to tokens; level blocks follow."""
    tokens = (ids + np.cumsum([0, *sizes[:-1]])).tolist()
    allowed: dict[tuple[int, ...], set[int]] = {}
    for row in tokens:
        for level in range(len(sizes)):
            allowed.setdefault(tuple(row[:level]), set()).add(row[level])
    return {prefix: sorted(found) for prefix, found in allowed.items()}


def whole_vocabulary(logits: Tensor, level: int, sizes: tuple[int, ...]) -> Tensor:
    """Log-probabilities of a level at its place among the tokens of all levels."""
    users, beams, size = logits.shape
    scores = torch.full((users, beams, sum(sizes)), -30.0)
    start = sum(sizes[:level])
    scores[..., start : start + size] = logits.log_softmax(-1)
    return scores


def hf_steps(allowed: AllowedTokens, steps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The constraint and choice of ``generate``: mask, add, top-k over all beams of a user."""
    written = torch.zeros(USERS, 1, 0, dtype=torch.int64)
    totals = torch.zeros(USERS, 1)
    for scores in steps:
        users, beams, vocabulary = scores.shape
        processor = PrefixConstrainedLogitsProcessor(
            lambda _, prefix: allowed[tuple(prefix.tolist())], beams
        )
        masked = processor(written.flatten(0, 1), scores.flatten(0, 1)).view_as(scores)
        totals, places = (totals[..., None] + masked).view(users, -1).topk(WIDTH)
        parents = places // vocabulary
        rows = torch.arange(users)[:, None]
        written = torch.cat([written[rows, parents], places[..., None] % vocabulary], dim=-1)
    return written, totals


def small_t5(vocabulary: int) -> Any:
    """The fixed model: random weights, seed 0."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=vocabulary, d_model=DIMENSION, d_kv=16, d_ff=256, num_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config).eval()


def hf_generate(model: Any, tokens: Tensor, allowed: AllowedTokens) -> Any:
    """Constrained beam search as the library offers it."""
    return model.generate(
        tokens, num_beams=WIDTH, num_return_sequences=WIDTH, max_new_tokens=3, min_new_tokens=3,
        do_sample=False, length_penalty=0.0, return_dict_in_generate=True, output_scores=True,
        prefix_allowed_tokens_fn=lambda _, written: allowed[tuple(written[1:].tolist())],
    )  # fmt: skip


def compare_lists(
    lists: BeamLists, out: Any, trie: Trie, first: tuple[int, ...], ids: npt.NDArray[np.int32]
) -> dict[str, float]:
    """Share of their items that are ours, of our items that exist, largest difference in score.

    Raises:
        SystemExit: An item does not exist, or items differ whose scores are not equal.
    """
    mine = trie.leaf_codes(lists.leaves[..., 0])
    theirs = (out.sequences[:, 1:4] - torch.tensor(first)).view(USERS, WIDTH, 3)
    difference = float((lists.scores - out.sequences_scores.view(USERS, WIDTH)).abs().max())
    known = {tuple(row) for row in ids.tolist()}
    legal = np.mean([tuple(row) in known for row in mine.flatten(0, 1).tolist()])
    pairs = zip(mine.tolist(), theirs.tolist(), strict=True)
    same = np.mean([len({*map(tuple, a)} & {*map(tuple, b)}) / WIDTH for a, b in pairs])
    if legal < 1 or difference > 1e-3 or same < 0.999:
        raise SystemExit(f"legal {legal}, same {same}, scores differ by up to {difference}.")
    return {"legal": float(legal), "same_items": float(same), "largest_score_gap": difference}


def call_flops(model: Any, levels: int) -> float:
    """Matrix products of one call: the encoder once per user, every step once per beam."""
    d, f, inner = DIMENSION, model.config.d_ff, model.config.d_kv * model.config.num_heads
    vocabulary = model.config.vocab_size
    encoder = USERS * HISTORY * 2 * (4 * d * inner + 2 * d * f) + USERS * 4 * inner * HISTORY**2
    crossed = USERS * HISTORY * 2 * (2 * d * inner)
    rows = USERS * (1 + WIDTH * (levels - 1))
    step = 2 * (6 * d * inner + 2 * d * f) + 4 * inner * (HISTORY + levels)
    return float(2 * (encoder + crossed + rows * step) + rows * 2 * d * vocabulary)
