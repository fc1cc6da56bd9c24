"""The learnt bias on items of the history: which logits it moves, and what it learns."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from llmrec.data import leave_one_out
from llmrec.data.histories import Histories
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.recommenders.sasrec import SASRec
from llmrec.recommenders.sasrec.windows import SequenceWindows, seen_pairs
from llmrec.training import softmax
from llmrec.training.softmax import LogitShift, full_softmax_loss

VOCABULARY = Vocabulary([f"item {n}" for n in range(6)])


def histories(rows):
    return Histories.from_lists([[f"item {code - 1}" for code in row] for row in rows], VOCABULARY)


@pytest.mark.parametrize("chunk", [1, 37 * 16, 37 * 20, 1 << 20])
def test_shifted_loss_and_gradients_are_those_of_the_dense_matrix(monkeypatch, chunk):
    monkeypatch.setattr(softmax, "_CPU_CHUNK_VALUES", chunk)
    torch.manual_seed(0)
    states, items = torch.randn(50, 6, requires_grad=True), torch.randn(37, 6, requires_grad=True)
    targets, marked = torch.randint(0, 37, (50,)), torch.rand(50, 37) < 0.1
    value = torch.tensor(-0.7, requires_grad=True)
    logits = states @ items.T + value * marked
    expected = functional.cross_entropy(logits, targets, reduction="sum")
    gradients = torch.autograd.grad(expected, [states, items, value])
    shift = LogitShift(*marked.nonzero(as_tuple=True), value)
    loss = full_softmax_loss(states, items, targets, shift=shift)
    torch.testing.assert_close(loss, expected)
    for found, wanted in zip(
        torch.autograd.grad(loss, [states, items, value]), gradients, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_batches_name_the_items_before_every_target():
    train = histories([[1, 2, 1, 3], [4, 5, 6]])
    batch = SequenceWindows(train, 50, with_seen=True).batch(
        np.array([0, 1]), np.random.default_rng(0)
    )
    pairs = [(int(row), int(code)) for row, code in batch.seen.T]
    # targets 2, 1, 3 of the first user, then 5, 6 of the second
    assert pairs == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (3, 4), (4, 4), (4, 5)]
    assert SequenceWindows(train, 50).batch(np.array([0]), np.random.default_rng(0)).seen is None


def test_pairs_of_empty_spans():
    found = seen_pairs(np.array([], dtype=np.int32), np.array([0]), np.array([0]))
    assert found.shape == (2, 0)


def test_scores_move_by_the_bias_and_only_for_items_of_the_history():
    train = histories([[1, 2, 3, 4, 5, 6, 1], [3, 2, 1]])
    model = SASRec(dim=8, repeat_bias=True, max_length=2, training={"epochs": 1}).fit(train)
    asked = histories([[6, 1, 2], [4]])
    with_bias = model.score_catalog(asked)
    listed = model.score(asked, [["item 0", "item 5"], ["item 3"]])
    bias = float(model.encoder.repeat_bias.detach())
    with torch.no_grad():
        model.encoder.repeat_bias.zero_()
    moved = with_bias - model.score_catalog(asked)
    expected = np.zeros((2, 6))
    expected[0, [0, 1]] = bias  # the newest two events only
    expected[1, 3] = bias
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(listed[0], with_bias[0, [0, 5]], atol=1e-5)
    np.testing.assert_allclose(listed[1, :1], with_bias[1, [3]], atol=1e-5)


@pytest.mark.parametrize(("rows", "sign"), [("never", -1), ("always", 1)])
def test_it_falls_where_nobody_repeats_and_rises_where_all_do(rows, sign):
    rng = np.random.default_rng(0)
    if rows == "never":
        lists = [rng.permutation(6) + 1 for _ in range(64)]
    else:
        lists = [np.tile(rng.permutation(6)[:2] + 1, 3) for _ in range(64)]
    settings = {"epochs": 10, "batch_size": 8, "learning_rate": 0.01}
    model = SASRec(dim=8, repeat_bias=True, training=settings).fit(histories(lists))
    assert sign * float(model.encoder.repeat_bias.detach()) > 0.3


def test_saved_and_loaded(tmp_path):
    split = leave_one_out(simulate("simulate:tiny@1").dataset)
    model = SASRec(dim=8, repeat_bias=True, training={"epochs": 1}).fit(split.train_histories())
    model.save_pretrained(tmp_path / "model")
    asked = split.cases("test").histories
    loaded = SASRec.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_catalog(asked), model.score_catalog(asked))
    assert float(loaded.encoder.repeat_bias.detach()) != 0


def test_sampled_softmax_is_refused():
    with pytest.raises(ConfigError, match="repeat_bias needs loss=full"):
        SASRec(repeat_bias=True, loss="sampled")
