"""Scores of the whole catalogue, of users who have had much of what the model thinks probable."""

import numpy as np
import pytest

from llmrec.data.histories import Histories
from llmrec.data.simulator import simulate
from llmrec.data.splits import leave_one_out
from llmrec.evaluation.ranks import exclude
from llmrec.recommenders.onerec import OneRec

BEAM = 8


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate("simulate:tiny@1").dataset)


@pytest.fixture(scope="module")
def model(split):
    settings = {
        "tokenizer": {"codes": 8},
        "generator": {"form": "decoder", "dim": 16, "heads": 2, "choices": "existing"},
        "training": {"epochs": 2, "batch_size": 64, "learning_rate": 3e-3},
        "beam": BEAM,
    }
    return OneRec(**settings).use_catalog(split.dataset.catalog).fit(split.train_histories())


def who_had_the_probable(model, histories, most):
    """Everybody's history with the model's own first items of that history at its beginning."""
    lists = model.recommend(histories, k=most, exclude_seen=False)
    first = lists.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
    ids = model.vocabulary.ids
    own = [ids.gather(histories[row] - 1).to_list() for row in range(len(histories))]
    rows = [before + after for before, after in zip(first, own, strict=True)]
    return Histories.from_lists(rows, model.vocabulary)


def test_an_evaluation_ranks_what_recommend_gives(model, split):
    histories = split.cases("test").histories.with_vocabulary(model.vocabulary)
    crowded = who_had_the_probable(model, histories, 2 * BEAM)
    scores = model.score_catalog(crowded)
    exclude(scores, crowded.items, crowded.offsets)
    best = np.sort(scores, axis=1)[:, ::-1][:, :5]
    lists = model.recommend(crowded, k=5)
    served = lists.group_by("user_id", maintain_order=True).agg("score")["score"].to_list()
    assert np.isfinite(best).all()
    assert best == pytest.approx(np.array(served), abs=1e-5)


def test_items_that_were_had_keep_their_scores(model, split):
    histories = split.cases("test").histories.with_vocabulary(model.vocabulary)
    crowded = who_had_the_probable(model, histories, 2 * BEAM)
    scores = model.score_catalog(crowded)
    for row, top in enumerate(np.argsort(-scores, axis=1)[:, :3]):
        exact = model.score(crowded.take([row]), model.vocabulary.ids.gather(top))
        assert scores[row, top] == pytest.approx(exact[0], abs=1e-4)
    kept = model.recommend(crowded, k=1, exclude_seen=False)["score"].to_numpy()
    assert scores.max(1) == pytest.approx(kept, abs=1e-5)
