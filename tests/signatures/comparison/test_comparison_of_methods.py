"""The table of methods: chosen on validation, the same for everybody, refused when it leaks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.evaluation.metrics.pairs import auc
from llmrec.signatures.comparison import (
    compare_methods,
    load_signature_results,
    write_signature_result,
)
from llmrec.signatures.comparison.compare import fingerprint_of
from llmrec.signatures.comparison.results import methods_table, summary_table
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.splits import GroupSplit, split_groups
from llmrec.testing.signatures import labelled_signatures

RESULTS = Path(__file__).parents[3] / "eval" / "results"
ABOUT = {"recipe": None, "commit": "none", "test_runs": 1, "hardware": "here"}
NAMES = ("mean_logprob", "max_probability", "zlib", "min_k_plus_exact", "logistic", "bag_of_words")


@pytest.fixture(scope="module")
def world():
    records, labels = labelled_signatures(240, seed=0, k=5)
    questions = [f"question {i // 2}" for i in range(240)]
    groups = [str(i // 2) for i in range(240)]
    return SignatureSet.of(records, labels, groups, question=questions)


@pytest.fixture(scope="module")
def split(world):
    return split_groups(world.groups)


@pytest.fixture(scope="module")
def found(world, split):
    los_net = {"k": 5, "hidden": 16, "training": {"epochs": 2, "learning_rate": 3e-3}}
    return compare_methods(
        world, split, los_net=los_net, baselines=(*NAMES, "length"), seeds=(0, 1),
        blind="question", group="question", draws=60,
    )  # fmt: skip


def test_every_method_has_figures_or_a_reason(found):
    assert found.figures.keys() == {
        "mean_logprob", "max_probability", "logistic", "bag_of_words", "length", "los_net",
        "shuffled_labels",
    }  # fmt: skip
    assert "needs the text" in found.left_out["zlib"]
    assert "min_k_plus_topk" in found.left_out["min_k_plus_exact"]
    kinds = {name: figures.kind for name, figures in found.figures.items()}
    assert kinds["los_net"] == "los_net"
    assert kinds["length"] == kinds["shuffled_labels"] == kinds["bag_of_words"] == "control"
    assert (kinds["mean_logprob"], kinds["logistic"]) == ("single", "learnt")


def test_figures_are_of_the_test_part(found, world, split):
    test = world.take(split.rows("test", world.groups))
    for name, scores in found.scores.items():
        expected = [auc(test.labels, one) for one in scores.test]
        np.testing.assert_allclose(found.figures[name].auc.per_seed, expected)
    assert len(found.figures["los_net"].auc.per_seed) == 2
    assert len(found.figures["mean_logprob"].auc.per_seed) == 1
    assert 0 <= found.figures["logistic"].ece <= 1
    assert found.split.records == {
        part: split.rows(part, world.groups).size
        for part in ("learn", "valid", "calibrate", "test")
    }


def test_the_baseline_is_chosen_on_validation(found):
    baselines = {n: f for n, f in found.figures.items() if f.kind in ("single", "learnt")}
    best = max(baselines, key=lambda name: baselines[name].valid_auc)
    assert found.best_baseline.baseline == best
    gap = found.figures["los_net"].auc.mean - baselines[best].auc.mean
    assert found.best_baseline.auc == pytest.approx(gap)
    assert found.best_baseline.ci95[0] <= gap <= found.best_baseline.ci95[1]
    assert found.best_single.baseline in ("mean_logprob", "max_probability")


def test_a_result_is_written_read_and_shown(found, tmp_path):
    result = found.result("try", "drawn", "the answer is wrong", **ABOUT)
    write_signature_result(result, tmp_path)
    assert load_signature_results(tmp_path) == [result]
    assert "| los_net |" in methods_table(result)
    assert "length (control)" in methods_table(result)
    assert summary_table([result]).count("\n") == 2
    path = tmp_path / "signatures" / "try.json"
    path.rename(path.with_name("other.json"))
    with pytest.raises(ArtifactError, match="its name must be that"):
        load_signature_results(tmp_path)
    values = json.loads(path.with_name("other.json").read_text()) | {"extra": 1}
    path.write_text(json.dumps(values))
    path.with_name("other.json").unlink()
    with pytest.raises(ArtifactError, match="unknown key 'extra'"):
        load_signature_results(tmp_path)


def test_a_part_with_labels_of_one_class_is_refused(world):
    alike = next(
        g for g, pair in zip(world.groups[::2], pairs(world), strict=True) if pair[0] == pair[1]
    )
    parts = dict.fromkeys(world.groups, "learn") | {alike: "valid"}
    other = next(group for group in world.groups if group != alike)
    with pytest.raises(DataError, match="the part valid has 2 records of one label only"):
        compare_methods(world, GroupSplit(parts | {other: "test"}), baselines=["length"])


def pairs(world):
    return world.labels.reshape(-1, 2).tolist()


def test_what_cannot_be_compared_is_refused(world, split):
    with pytest.raises(ConfigError, match="no method to compare"):
        compare_methods(world, split, baselines=[])
    with pytest.raises(ConfigError, match="did you mean 'boosting'"):
        compare_methods(world, split, baselines=["bosting"])
    some = SignatureSet.of(world.records, [np.nan] * len(world), world.groups)
    with pytest.raises(DataError, match="have no label"):
        compare_methods(some, split, baselines=["length"])


def test_the_fingerprint_knows_labels_and_values(world):
    first = fingerprint_of(world)
    assert fingerprint_of(world.take(np.arange(len(world)))) == first
    other = [replace(world.records[0], topk_logprobs=world.records[0].topk_logprobs - 1)]
    changed = SignatureSet([*other, *world.records[1:]], world.examples)
    assert fingerprint_of(changed) != first


def test_committed_results_have_the_form():
    for result in load_signature_results(RESULTS):
        assert result.methods["los_net"].kind == "los_net"
