"""Pure functions of the benchmarks: counted work, order of turns, judged lists."""

import ast
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

FOLDER = Path(__file__).parents[2] / "eval" / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import a script of the folder, which is not a package, by its file name."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def by_name(name):
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return by_name


def test_flops_of_a_tiny_model_written_out(load):
    work = load("work")
    shape = work.Shape(items=5, dimension=2, feed_forward=3, blocks=1, length=4)
    # Two rows of 1 and 2 positions. Per position: q, k, v, o are 2x2, the layers 2x3 and 3x2.
    linear = 3 * (4 * 2 * (2 * 2) + 2 * 2 * (2 * 3))
    # Causal pairs 1 + 3; each costs a score and a mix of width 2.
    attention = 4 * (2 * 2 + 2 * 2)
    scores = 2 * (2 * 2 * 5)
    assert work.forward_flops(shape, [1, 2], scored=2) == linear + attention + scores
    square = (1 + 4) * (2 * 2 + 2 * 2)
    assert work.forward_flops(shape, [1, 2], 2, causal=False) == linear + square + scores
    assert work.training_flops(shape, [1, 2], 2) == 3 * (linear + attention + scores)


def test_products_of_an_encoder_agree_with_torch_flop_counter(load):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    work = load("work")
    d, f, items, rows, length = 8, 12, 30, 3, 5
    shape = work.Shape(items=items, dimension=d, feed_forward=f, blocks=1, length=length)
    x = torch.randn(rows, length, d)
    square, wide, table = torch.randn(d, d), torch.randn(d, f), torch.randn(items, d)
    with FlopCounterMode(display=False) as counter:
        q, k, v = x @ square, x @ square, x @ square
        mixed = (q @ k.transpose(1, 2)) @ v
        hidden = (mixed @ square) @ wide @ wide.T
        _ = hidden @ table.T
    lengths = np.full(rows, length)
    expected = work.forward_flops(shape, lengths, rows * length, causal=False)
    assert counter.get_total_flops() == expected


def test_weights_agree_with_a_torch_model_of_that_shape(load):
    from torch import nn

    work = load("work")
    shape = work.Shape(items=20, dimension=8, feed_forward=12, blocks=2, length=6)
    block = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=12)
    model = nn.ModuleList(
        [nn.Embedding(21, 8), nn.Embedding(6, 8), nn.LayerNorm(8), block, block.__class__(8, 2, 12)]
    )
    assert shape.weights == sum(p.numel() for p in model.parameters())


def test_the_slower_of_arithmetic_and_memory_sets_the_ceiling(load):
    work = load("work")
    assert work.seconds_at_ceiling(100, 10, flops_per_second=10, bytes_per_second=10) == 10
    assert work.seconds_at_ceiling(100, 900, flops_per_second=10, bytes_per_second=10) == 90


@pytest.mark.parametrize("ours", [1, 2, 3, 5])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_turns_hold_every_repeat_and_alternate(load, ours, rounds):
    turns = load("peers").turns(ours, ["a", "b"], rounds)
    assert turns.count("ours") == ours
    theirs = [label for label in turns if label != "ours"]
    assert theirs == ["a", "b", "b", "a", "a", "b"][: 2 * rounds]


def test_a_target_outside_its_list_and_a_user_without_list_count_nothing(load, tmp_path):
    quality = load("quality")
    events = pl.DataFrame(
        {"user": [1, 1, 2, 3], "item": [9, 4, 5, 6], "position": [0, 1, 0, 0], "part": [0, 2, 2, 2]}
    )
    lists = pl.DataFrame({"user": [1, 1, 2], "item": [8, 4, 7], "rank": [1, 2, 1]})
    events.write_parquet(tmp_path / "events.parquet")
    lists.write_parquet(tmp_path / "lists.parquet")
    found = quality.judge(tmp_path / "events.parquet", tmp_path / "lists.parquet", "test")
    assert found["ndcg@10"] == pytest.approx((1 / np.log2(3)) / 3)
    assert found["n_users"] == 3


def test_an_item_twice_in_a_list_is_refused(load):
    lists = pl.DataFrame({"user": [1, 1], "item": [4, 4], "rank": [1, 2]})
    with pytest.raises(SystemExit, match="occurs twice"):
        load("quality").list_ranks(lists, pl.DataFrame({"user": [1], "item": [4]}))


def test_ratio_is_taken_over_all_pairs(load):
    ratio = load("record").ratio([1.0, 2.0, 4.0], [8.0])
    assert ratio == {"median": 4.0, "min": 2.0, "max": 8.0}


def test_a_written_record_has_the_committed_schema_and_names_no_machine(load, tmp_path):
    import platform

    from llmrec.evaluation.results import load_benchmarks

    peer = ("Other", "1.0", [6.0])
    load("record").write_benchmark(
        "job", {"threads": 2}, [1.0, 2.0], peer, 0.5, {"all": 1}, folder=tmp_path
    )
    (found,) = load_benchmarks(tmp_path)
    assert found.ratio is not None
    assert (found.ours.seconds, found.ratio.median) == (1.5, 4.5)
    assert platform.node() not in found.machine
    assert json.loads((tmp_path / "benchmarks" / "details" / "job.json").read_text()) == {"all": 1}


def test_an_unknown_setting_is_refused_with_the_known_ones(load):
    with pytest.raises(SystemExit, match=r"\['headz'\].*'heads'"):
        load("setting").from_json('{"headz": 2}')


@pytest.mark.parametrize("script", ["peer_rectools", "peer_recbole", "peer_io", "task_io"])
def test_what_runs_beside_a_peer_does_not_need_our_package(script):
    tree = ast.parse((FOLDER / f"{script}.py").read_text())
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert names
    assert not [name for name in names if name.startswith("llmrec")]


def test_a_smoke_run_may_not_overwrite_results(load, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers.py", "--max-batches", "2"])
    with pytest.raises(SystemExit):
        load("peers").parse_arguments()
    assert "not a result" in capsys.readouterr().err
