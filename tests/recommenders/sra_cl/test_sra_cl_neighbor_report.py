"""Neighbour reports: counted by hand, by brute force, and on the set that shows the trap."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import leave_one_out
from llmrec.data.histories import Histories
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError
from llmrec.recommenders.sra_cl import SRACL
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.neighbor_report import (
    item_report,
    semantics_report,
    sequence_report,
)
from llmrec.recommenders.sra_cl.semantics import Semantics

TITLES = pl.Series([f"title {code}" for code in range(1, 7)])
TINY = {"dim": 8, "blocks": 1, "feed_forward": 8, "neighbors": 3, "text_encoder": "tfidf:16"}


def events_of(*rows):
    vocabulary = Vocabulary(list(range(1, 7)))
    return TrainingEvents.of(Histories.from_lists(list(rows), vocabulary))


def table_of(events, **slots):
    """``r0=[3, 5]`` gives row 0 these neighbours; everything else is unused."""
    table = np.full((len(events), 2), -1, dtype=np.int32)
    for row, near in slots.items():
        table[int(row[1:]), : len(near)] = near
    return table


def same_vectors(events):
    return np.ones((len(events), 4), dtype=np.float16)


# Rows 0-2 are the first user's, 3-6 the second's, 7-8 the third's.
HAND = ([1, 2, 3], [2, 3, 1, 2], [5, 2])


def test_shares_of_a_hand_made_table():
    events = events_of(*HAND)
    table = table_of(
        events,
        r0=[2, 7],  # item 2 follows: row 2 is the user's own and holds it; row 7 is followed by it
        r1=[3, 6],  # item 3 follows: row 3 does not hold it but is followed by it; row 6 holds it
        r3=[8],  # item 3 follows: the third user never has it; row 8 is followed by nothing
    )
    found = sequence_report(table, events, same_vectors(events), TITLES)
    assert (found["pool"], found["queries"], found["described"]) == (9, 6, 3)
    assert found["k"] == 2
    assert found["filled"] == pytest.approx(5 / 6)
    assert found["same_user_slots"] == pytest.approx(1 / 5)
    assert found["holds_target"] == pytest.approx(2 / 3)
    assert found["holds_target_slots"] == pytest.approx(2 / 5)
    assert found["same_next"] == pytest.approx(2 / 3)
    assert found["same_next_slots"] == pytest.approx(2 / 5)
    assert found["users_per_query"] == pytest.approx((2 + 1 + 1) / 3)
    # items 2, 3, 1 follow 3, 2 and 1 of the 6 sequences; any of 9 rows could be a neighbour
    assert found["same_next_slots_by_chance"] == pytest.approx((9 + 4 + 1) / (6 * 9))


def test_a_sequence_holds_what_came_up_to_its_end_and_not_what_comes_later():
    events = events_of([4, 1], [2, 1, 3])
    before = sequence_report(table_of(events, r0=[2]), events, same_vectors(events), TITLES)
    after = sequence_report(table_of(events, r0=[3]), events, same_vectors(events), TITLES)
    later = sequence_report(table_of(events, r0=[4]), events, same_vectors(events), TITLES)
    assert [found["holds_target"] for found in (before, after, later)] == [0, 1, 1]
    assert [found["same_next"] for found in (before, after, later)] == [1, 0, 0]


histories = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=6), min_size=2, max_size=6)


@settings(deadline=None, max_examples=60)
@given(histories, st.integers(0, 2**32 - 1))
def test_shares_equal_those_of_a_loop(rows, seed):
    events = events_of(*rows)
    rng = np.random.default_rng(seed)
    table = rng.integers(-1, len(events), (len(events), 3)).astype(np.int32)
    found = sequence_report(table, events, same_vectors(events), TITLES)
    flat = [(user, list(row[: n + 1])) for user, row in enumerate(rows) for n in range(len(row))]
    after = [row[n + 1] if n + 1 < len(row) else None for row in rows for n in range(len(row))]
    own, holds, alike, users = [], [], [], []
    for query, target in enumerate(after):
        near = [int(row) for row in table[query] if row >= 0]
        if target is None or not near:
            continue
        own.append([flat[row][0] == flat[query][0] for row in near])
        holds.append([target in flat[row][1] for row in near])
        alike.append([after[row] == target for row in near])
        users.append(len({flat[row][0] for row in near}))
    assert found["described"] == len(own)
    if not own:
        assert found["holds_target"] is None
        return
    assert found["same_user_slots"] == pytest.approx(np.mean(np.concatenate(own)))
    assert found["holds_target"] == pytest.approx(np.mean([any(row) for row in holds]))
    assert found["holds_target_slots"] == pytest.approx(np.mean(np.concatenate(holds)))
    assert found["same_next"] == pytest.approx(np.mean([any(row) for row in alike]))
    assert found["same_next_slots"] == pytest.approx(np.mean(np.concatenate(alike)))
    assert found["users_per_query"] == pytest.approx(np.mean(users))


def test_cosines_do_not_depend_on_the_rounding_of_stored_vectors():
    """Rounded to float16, the vector of thirds has a length that is not 1."""
    events = events_of([1, 2], [3, 4])
    thirds = np.full(9, 1 / 3, dtype=np.float16)
    across = np.array([1, *[0] * 8], dtype=np.float16)
    vectors = np.stack([thirds, across, thirds, thirds])
    found = sequence_report(table_of(events, r0=[2, 1], r2=[3]), events, vectors, TITLES)
    assert found["duplicates"] == pytest.approx(2 / 3)
    assert found["score"]["of_queries"] == 2
    assert found["score"]["mean_by_slot"] == pytest.approx([1, 1 / 3])


def test_items_are_described_with_their_categories():
    table = np.array([[1, 2], [0, -1], [3, 0], [0, 1], [-1, -1], [-1, -1]], dtype=np.int32)
    categories = ["pens", "pens", "", "ink", "ink", "ink"]
    found = item_report(table, TITLES, categories)
    assert (found["items"], found["described"]) == (6, 4)
    assert found["filled"] == pytest.approx(7 / 8)
    # known pairs: 0-1, 1-0, 3-0, 3-1; the first two are of one category
    assert found["same_category_slots"] == pytest.approx(2 / 4)
    assert found["same_category_slots_by_chance"] == pytest.approx((2 / 5) ** 2 + (3 / 5) ** 2)
    assert (found["score"], found["duplicates"]) == (None, None)
    assert found["hubness"]["hubs"][0] == {"row": 0, "label": "title 1", "chosen": 3}
    assert {"title": "title 3", "neighbors": ["title 4", "title 1"]} in found["samples"]
    assert item_report(table, TITLES)["same_category_slots"] is None


def test_samples_tell_the_newest_titles_oldest_first_and_what_came_next():
    events = events_of([1, 2, 3, 4, 5, 6, 1], [6, 5])
    table = table_of(events, r5=[7, 8])
    found = sequence_report(table, events, same_vectors(events), TITLES)
    assert found["samples"] == [
        {
            "newest": ["title 2", "title 3", "title 4", "title 5", "title 6"],
            "next": "title 1",
            "neighbors": [
                {"newest": ["title 6"], "next": "title 5", "cosine": 1.0},
                {"newest": ["title 6", "title 5"], "next": None, "cosine": 1.0},
            ],
        }
    ]


def test_the_seed_chooses_at_most_ten_samples():
    events = events_of(*[[1 + (user + n) % 6 for n in range(4)] for user in range(40)])
    rng = np.random.default_rng(0)
    table = rng.integers(0, len(events), (len(events), 3)).astype(np.int32)
    told = [
        sequence_report(table, events, same_vectors(events), TITLES, seed)["samples"]
        for seed in (1, 1, 2)
    ]
    assert len(told[0]) == 10
    assert told[0] == told[1] != told[2]


def test_a_table_that_was_not_made_is_left_out_and_an_empty_one_has_no_shares():
    events = events_of([1, 2], [3, 4])
    nothing = np.empty((0, 0), dtype=np.int32)
    unused = np.full((4, 2), -1, dtype=np.int32)
    found = semantics_report(Semantics(same_vectors(events), unused, nothing), events, TITLES)
    assert found["items"] is None
    assert found["sequences"]["described"] == 0
    assert found["sequences"]["same_user_slots"] is None
    assert found["sequences"]["samples"] == []
    json.dumps(found, allow_nan=False)


@pytest.fixture(scope="module")
def tiny():
    data = simulate("simulate:tiny@1").dataset
    return data, leave_one_out(data).train_histories()


def fitted(tiny, **options):
    data, train = tiny
    model = SRACL(**TINY, training={"epochs": 1}, **options)
    return model.use_catalog(data.catalog).fit(train)


def test_a_fitted_model_reports_its_clean_neighbours_as_json(tiny):
    model = fitted(tiny)
    found = model.neighbor_report()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["sequences"]["same_user_slots"], found["sequences"]["holds_target"]) == (0, 0)
    assert found["sequences"]["users_per_query"] == 3
    assert found["items"]["same_category_slots"] > found["items"]["same_category_slots_by_chance"]
    assert found["made_from"]["neighbor_pool"] == "clean"
    titles = set(tiny[0].catalog.titles)
    assert {title for each in found["items"]["samples"] for title in each["neighbors"]} <= titles
    assert model.reports() == {"neighbors": found}


def test_the_papers_pool_is_seen_to_hold_targets(tiny):
    options = {"neighbor_pool": "all", "neighbors_per_user": "any", "history_decay": 1.0}
    found = fitted(tiny, **options).neighbor_report()["sequences"]
    assert found["same_user_slots"] > 0.3
    assert found["holds_target"] > 0.3


def test_random_neighbours_are_as_useful_as_chance_says(tiny):
    found = fitted(tiny, control="random_neighbors").neighbor_report()
    by_chance = found["sequences"]["same_next_slots_by_chance"]
    assert found["sequences"]["same_next_slots"] == pytest.approx(by_chance, abs=0.012)
    assert found["items"]["same_category_slots"] == pytest.approx(
        found["items"]["same_category_slots_by_chance"], abs=0.06
    )


def test_models_without_neighbours_say_why_there_is_no_report(tiny, tmp_path):
    without = fitted(tiny, alpha=0, beta=0)
    assert without.reports() == {}
    model = fitted(tiny, alpha=0)
    assert model.neighbor_report()["sequences"] is None
    model.save_pretrained(tmp_path / "model")
    loaded = SRACL.from_pretrained(tmp_path / "model")
    assert loaded.reports() == {}
    for each in (SRACL(**TINY), without, loaded):
        with pytest.raises(ArtifactError, match=r"no neighbours to report.*neighbors\.json"):
            each.neighbor_report()


HOME = os.environ.get("LLMREC_DATA_HOME")


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(HOME is None or not Path(HOME).is_dir(), reason="LLMREC_DATA_HOME is not set")
@pytest.mark.parametrize(("decay", "own", "holding"), [(1.0, 0.5, 0.8), (0.8, 0.2, 0.7)])
def test_the_trap_of_the_original_on_office_and_the_clean_pool(decay, own, holding):
    """With sequences described by all their titles (decay 1) most neighbours are the user's own."""
    from llmrec.data.named import load_dataset
    from llmrec.recommenders.item_texts import embed_items, item_texts
    from llmrec.recommenders.sra_cl.neighbors import clean_exclusions
    from llmrec.recommenders.sra_cl.semantics import decayed_means
    from llmrec.retrieval.faiss_index import neighbor_index
    from llmrec.retrieval.neighbors import nearest
    from llmrec.retrieval.ranges import RowRanges

    data = load_dataset("amazon-office")
    events = TrainingEvents.of(leave_one_out(data).train_histories())
    items = embed_items(item_texts(data.catalog, "title"), data.catalog.vocabulary, "tfidf", None)
    vectors = decayed_means(items.values, events, decay)
    index = neighbor_index(vectors.astype(np.float32))
    queries = np.random.default_rng(0).choice(np.flatnonzero(events.targets), 1000, replace=False)

    def described(excluded):
        near = nearest(index, vectors[queries].astype(np.float32), 10, excluded)
        table = np.full((len(events), 10), -1, dtype=np.int32)
        table[queries] = near.rows
        return sequence_report(table, events, vectors, data.catalog.titles)

    paper = described(RowRanges.from_rows(queries))
    clean = described(clean_exclusions(events, queries))
    assert paper["same_user_slots"] > own
    assert paper["holds_target"] > holding
    assert (clean["same_user_slots"], clean["holds_target"]) == (0, 0)
    # what is left says more about the next item than what was taken out
    assert clean["same_next_slots"] > 4 * clean["same_next_slots_by_chance"]
    assert clean["same_next_slots"] > paper["same_next_slots"]
