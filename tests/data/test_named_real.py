"""The public sets in hand: every count that their README promises."""

import os
from pathlib import Path

import polars as pl
import pytest

from llmrec.data import given as given_split
from llmrec.data import leave_one_out
from llmrec.data.cards import CARDS
from llmrec.data.named import load_dataset
from llmrec.data.validation import validate

HOME = os.environ.get("LLMREC_DATA_HOME")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        HOME is None or not Path(HOME).is_dir(), reason="LLMREC_DATA_HOME is not set"
    ),
]
IN_HAND = [card.name for card in CARDS.values() if card.files]

# users, items, events; written down from the README, not from the cards
EXPECTED = {
    "ml-latest-small": (610, 9742, 100_836),
    "ml-1m": (6040, 3363, 999_252),
    "ml-1m-collm": (838, 3255, 33_891 + 10_401 + 7_331),
    "amazon-beauty": (22_363, 12_101, 198_502),
    "amazon-office": (4905, 2420, 53_258),
}


@pytest.fixture(scope="module", params=IN_HAND)
def dataset(request):
    return load_dataset(request.param)


def test_counts_and_clock(dataset):
    found = (len(dataset.user_vocabulary), len(dataset.catalog), len(dataset.interactions))
    assert found == EXPECTED[dataset.name]
    assert dataset.has_timestamps == CARDS[dataset.name].has_timestamps
    assert dataset.has_timestamps == dataset.name.startswith(("ml-latest", "ml-1m-collm"))


def test_titles_are_kept(dataset):
    titles = dataset.catalog.frame["title"]
    assert titles.dtype == pl.String
    assert titles.null_count() == {"amazon-beauty": 7, "amazon-office": 3}.get(dataset.name, 0)


def test_leave_one_out_has_a_case_for_nearly_every_user(dataset):
    split = leave_one_out(dataset)
    expected = len(dataset.user_vocabulary) - split.n_too_short
    assert len(split.cases("test")) == len(split.cases("valid")) == expected
    assert split.n_too_short == (64 if dataset.name == "ml-1m-collm" else 0)


@pytest.mark.parametrize("name", ["ml-1m", "amazon-beauty", "amazon-office"])
def test_sequences_are_those_of_the_file(name):
    dataset = load_dataset(name)
    text = pl.read_csv(Path(HOME) / name / "sequences.csv.gz", infer_schema=False)
    users = dataset.user_vocabulary.ids.cast(pl.String).to_list()
    of_user = dict(text.iter_rows())
    for row in (0, len(users) // 2, len(users) - 1):
        items = dataset.item_vocabulary.decode(dataset.histories[row]).cast(pl.String)
        assert " ".join(items) == of_user[users[row]]


def test_the_collm_split_is_the_one_published():
    split = given_split(load_dataset("ml-1m-collm"))
    found = {part: len(split.labelled_cases(part)) for part in ("train", "valid", "test")}
    assert found == {"train": 33_891, "valid": 10_401, "test": 7_331}
    cases = split.labelled_cases("test")
    assert cases.histories.times.max() < split.dataset.histories.times.max()


def test_ml_1m_keeps_its_users_and_drops_items_nobody_watched():
    dataset = load_dataset("ml-1m")
    assert dataset.users.height == 6040
    assert dataset.users.columns == ["user_id", "gender", "age", "occupation", "zip"]
    assert dataset.users["zip"].dtype == pl.String
    occurring = dataset.interactions.frame["item_id"].unique()
    assert set(dataset.catalog.frame["item_id"]) == set(occurring)


def test_a_blank_in_a_number_does_not_stop_the_reader_and_is_reported():
    found = validate(Path(HOME) / "ml-latest-small")
    blanks = [f for f in found if "blanks" in f.message]
    assert [(f.file, f.row, f.column) for f in blanks] == [
        ("interactions.csv.gz", 206, "timestamp")
    ]


@pytest.mark.parametrize("name", IN_HAND)
def test_nothing_in_hand_has_an_error(name):
    assert [f for f in validate(Path(HOME) / name) if f.severity == "error"] == []
