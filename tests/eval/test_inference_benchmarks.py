"""What the inference benchmarks count, and that small editions of them do equal work."""

import json

import numpy as np
import pytest
import torch
from benchmark_scripts import benchmark_scripts
from torch.utils.flop_counter import FlopCounterMode

from llmrec.testing.sized_llama import (
    LlamaShape,
    character_tokenizer,
    pairs_behind,
    random_text,
    save_sized_llama,
)

SHAPE = LlamaShape(32, 48, 2, 4, 2, vocab_size=200, context=128, head_dim=16)


@pytest.fixture(scope="module")
def scripts():
    with benchmark_scripts("inference", "inference_jobs", "inference_storage") as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sized_llama(tmp_path_factory.mktemp("models") / "model", SHAPE)


def network_of(shape):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(shape.config()).eval()


def test_weights_and_operations_are_those_of_the_network():
    network = network_of(SHAPE)
    assert sum(p.numel() for p in network.parameters()) == SHAPE.weights
    network.set_attn_implementation("eager")  # the counter does not know the fused kernels
    rows, length = 3, 7
    ids = torch.zeros(rows, length, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(input_ids=ids, logits_to_keep=1)
    # eager attention forms the whole square; rotary angles are a product of width 1
    rotary = 2 * rows * length * SHAPE.head_dim // 2
    expected = SHAPE.forward_flops(rows * length, rows * length**2, rows)
    assert counter.get_total_flops() in (expected, expected + rotary, expected + rotary // rows)


def test_operations_written_out():
    shape = LlamaShape(2, 3, 1, 1, 1, vocab_size=5, head_dim=2)
    matrices = 4 * 2 * 2 + 3 * 2 * 3
    assert shape.forward_flops(3, 6, 1) == 2 * matrices * 3 + (2 + 2) * 2 * 6 + 2 * 2 * 5


def test_pairs_are_those_of_a_mask():
    mask = torch.ones(9, 9).tril()
    assert pairs_behind(0, 9) == mask.sum()
    assert pairs_behind(4, 5) == mask[4:].sum()


def test_a_character_is_a_token():
    tokenizer = character_tokenizer(50)
    text = random_text(20, 50, np.random.default_rng(0))
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == 20
    assert tokenizer.decode(ids) == text


def test_lengths_are_log_uniform(scripts):
    lengths = scripts["inference_jobs"].log_uniform(2000, 16, 512)
    assert (lengths.min(), lengths.max()) == (16, 512)
    below = [(lengths < bound).mean() for bound in (32, 64, 128, 256)]
    np.testing.assert_allclose(below, [0.2, 0.4, 0.6, 0.8], atol=0.03)


def test_jobs_take_turns_in_both_directions(scripts):
    order = []
    seconds = scripts["inference"].take_turns(
        {name: lambda name=name: order.append(name) for name in "abc"}, 3
    )
    assert "".join(order) == "abccbaabc"
    assert [len(each) for each in seconds.values()] == [3, 3, 3]


def test_other_numbers_are_not_timed(scripts):
    check = scripts["inference"].largest_differences
    near = {"ours": np.array([1.0, 2.0]), "near": np.array([1.0, 2.0005]), "none": None}
    assert check(near) == {"near": pytest.approx(5e-4)}
    with pytest.raises(SystemExit, match="far"):
        check({"ours": np.array([1.0]), "far": np.array([1.1])})
    with pytest.raises(SystemExit, match="far"):
        check({"ours": np.array([1.0]), "far": np.array([np.nan])})


def test_low_rank_operations_are_those_of_the_matrices(scripts, folder):
    jobs = scripts["inference_jobs"]
    targets = ("q_proj", "v_proj", "down_proj")
    case = jobs.mixed_adapters(folder, SHAPE, targets, requests=2, adapters=1, prompt=5, rank=3)
    from safetensors.torch import load_file

    (path,) = folder.parent.glob("*-user0")
    weights = load_file(path / "adapter_model.safetensors")
    low_rank = 2 * 2 * 5 * sum(weight.numel() for weight in weights.values())
    plain = SHAPE.forward_flops(10, 2 * pairs_behind(0, 5), 2)
    assert case.flops == plain + low_rank


def test_small_editions_do_equal_work(scripts, folder):
    jobs, same = scripts["inference_jobs"], scripts["inference"].largest_differences
    cases = [
        jobs.shared_prefix(folder, SHAPE, prompt=20, continuations=5, tokens=3),
        jobs.by_length(folder, SHAPE, prompts=20, rows=4, longest=60),
        jobs.mixed_adapters(folder, SHAPE, ("q_proj", "up_proj"), 6, 3, prompt=5, rank=2),
    ]
    for case in cases:
        differences = same({name: job() for name, job in case.jobs.items()})
        assert differences
        assert case.flops > 0
    lengths = jobs.log_uniform(20, 16, 60)
    assert cases[1].setting["tokens"] == lengths.sum() < cases[1].setting["arrival_tokens"]
    generated = jobs.signatures(folder, SHAPE, k=5, prompts=2, prompt=4, tokens=3)
    assert all(job() is not None for job in generated.jobs.values())


def test_stored_bytes_and_hits_are_written(scripts, folder, tmp_path, monkeypatch):
    storage = scripts["inference_storage"]
    monkeypatch.setattr(storage, "TINY", SHAPE)
    storage.signature_bytes(folder, tmp_path, repeats=1, trial=True, k=4)
    found = json.loads((tmp_path / "benchmarks" / "signature_bytes.json").read_text())["setting"]
    assert (found["records"], found["tokens"]) == (8, 64)
    for name in ("shard", "cache"):
        assert found[f"{name}_bytes_per_token_with_ids"] > 0
    assert found["shard_bytes_per_token_without_ids"] < found["shard_bytes_per_token_with_ids"]
    storage.cache_hit(folder, tmp_path, repeats=1, trial=True)
    hit = json.loads((tmp_path / "benchmarks" / "cache_hit.json").read_text())
    assert hit["ratio"]["median"] > 0
