import dataclasses
import re

import polars as pl
import pytest

from llmrec.data import Catalog, Dataset, Interactions, global_time, leave_one_out, ratio
from llmrec.errors import ConfigError, ProtocolError, UnknownIdError
from llmrec.profiles import (
    Profiles,
    TemplateWriter,
    item_requests,
    require_no_leak,
    user_requests,
    write_profiles,
)
from llmrec.templates import load_template

SPLITS = {
    "leave_one_out": leave_one_out,
    "ratio": lambda data: ratio(data, 0.5, 0.25),
    "global_time": lambda data: global_time(data, valid_from=502, test_from=505),
}


@pytest.fixture(params=SPLITS)
def split(request, dataset):
    return SPLITS[request.param](dataset)


@pytest.fixture
def one_out(dataset):
    return leave_one_out(dataset)


def user_profiles(histories, catalog, tmp_path, granularity="prefix"):
    requests = user_requests(histories, catalog, granularity, include_last=True)
    return write_profiles(requests, TemplateWriter(load_template("user_profile")), tmp_path)


def users(**columns):
    return Profiles.from_frame(pl.DataFrame(columns), "user")


@pytest.mark.parametrize("granularity", ["prefix", "every_m", "user"])
def test_profiles_of_the_training_part_pass(split, catalog, tmp_path, granularity):
    profiles = user_profiles(split.train_histories(), catalog, tmp_path, granularity)
    require_no_leak(profiles, split)
    require_no_leak(profiles, split, "valid")
    is_eve = pl.col("user_id") == "eve"  # who took p6 last, in every split after training
    told = pl.when(is_eve).then(pl.lit("Étui 日本 🖋")).otherwise("text").alias("text")
    with pytest.raises(ProtocolError, match="of user 'eve', item 'p6'"):
        require_no_leak(changed(profiles, told), split)


def changed(profiles, column):
    """The same profiles with a column replaced."""
    return dataclasses.replace(profiles, frame=profiles.frame.with_columns(column))


def test_item_profiles_of_the_training_part_pass(split, catalog, tmp_path):
    writer = TemplateWriter(load_template("item_profile_llm"))
    items = item_requests(catalog, split.train_histories(), prefixes=99)
    profiles = write_profiles(items, writer, tmp_path)
    require_no_leak(profiles, split)
    require_no_leak(write_profiles(item_requests(catalog), writer, tmp_path), split)
    with pytest.raises(ProtocolError, match="later or more than its"):
        require_no_leak(changed(profiles, pl.col("n_events") + 1), split)


@pytest.mark.parametrize("stripped", [False, True])
def test_profiles_that_saw_validation_pass_only_where_they_may(split, catalog, tmp_path, stripped):
    profiles = user_profiles(split.train_histories(include_valid=True), catalog, tmp_path)
    if stripped:  # without an origin the events themselves must tell
        profiles = dataclasses.replace(profiles, origin=None)
    require_no_leak(profiles, split, "valid")
    with pytest.raises(ProtocolError, match="held out" if stripped else "up to the valid part"):
        require_no_leak(profiles, split)


def test_the_full_history_is_refused_everywhere(split, catalog, dataset, tmp_path):
    profiles = user_profiles(dataset.histories, catalog, tmp_path)
    for part in ("train", "valid"):
        with pytest.raises(ProtocolError, match="is held out"):
            require_no_leak(profiles, split, part)


def test_a_profile_of_too_many_events_names_user_event_and_item(one_out):
    profiles = users(user_id=["ann", "bob"], n_events=[2, 4], text=["ok", "ok"])
    expected = (
        "the profile of user 'bob' uses 4 events, but only 3 are in the train part of split "
        "leave_one_out of shop, and event 4 of user 'bob', item 'p6' at time 203 (validation) is "
        "held out"
    )
    with pytest.raises(ProtocolError, match=re.escape(expected)):
        require_no_leak(profiles, one_out)
    test_event = users(user_id=["bob"], n_events=[5], text=["ok"])
    with pytest.raises(ProtocolError, match=re.escape("item 'p3' at time 204 (test)")):
        require_no_leak(test_event, one_out, "valid")


def test_more_events_than_there_are(one_out):
    profiles = users(user_id=["dan"], n_events=[3], text=["ok"])
    with pytest.raises(ProtocolError, match=r"only 2 are in .* no more events of that user"):
        require_no_leak(profiles, one_out)


def test_a_user_whose_events_are_all_held_out(dataset):
    split = global_time(dataset, valid_from=400, test_from=500)
    profiles = users(user_id=["eve"], n_events=[1], text=["ok"])
    with pytest.raises(ProtocolError, match=r"only 0 are in .*event 1 of user 'eve', item 'p3'"):
        require_no_leak(profiles, split)


def test_a_newest_time_beyond_the_events_is_refused(one_out):
    profiles = users(user_id=["ann"], n_events=[2], newest_time=[102], text=["ok"])
    expected = (
        "newest event is at time 102, later than the newest of the 2 events it uses (time 101)"
    )
    with pytest.raises(ProtocolError, match=re.escape(expected) + ".*item 'p3' at time 102"):
        require_no_leak(profiles, one_out)
    require_no_leak(users(user_id=["ann"], n_events=[2], newest_time=[101], text=["ok"]), one_out)


def test_a_newest_item_that_is_another_event_is_refused(one_out):
    profiles = users(user_id=["ann"], n_events=[2], newest_item=["p4"], text=["ok"])
    expected = (
        "newest item is 'p4', but that is not event 2 of user 'ann', item 'p2' at time 101 "
        "(training); it is event 4 of user 'ann', item 'p4' at time 103 (test)"
    )
    with pytest.raises(ProtocolError, match=re.escape(expected)):
        require_no_leak(profiles, one_out)


def test_without_a_clock_the_order_is_enough(order_only, catalog, tmp_path):
    split = leave_one_out(order_only)
    require_no_leak(user_profiles(split.train_histories(), catalog, tmp_path / "a"), split)
    profiles = dataclasses.replace(
        user_profiles(order_only.histories, catalog, tmp_path / "b"), origin=None
    )
    expected = "event 3 of user 'ann', item 'p3' (validation) is held out"
    with pytest.raises(ProtocolError, match=re.escape(expected)):
        require_no_leak(profiles, split)


def test_profiles_of_another_split_are_refused(dataset, catalog, tmp_path):
    other = ratio(dataset, 0.5, 0.25)
    profiles = user_profiles(other.train_histories(), catalog, tmp_path)
    with pytest.raises(ProtocolError, match=f"written from split {other.hash} of shop, not from"):
        require_no_leak(profiles, leave_one_out(dataset))


@pytest.mark.parametrize(
    "poison",
    [
        "Likes pens; next: AT&T Phone",
        "wants an at&amp;t  phone soon",
        "AT&T\nPhone",
    ],
)
def test_a_poisoned_text_is_refused_although_its_events_are_in_order(one_out, poison):
    profiles = users(user_id=["dan", "ann"], n_events=[2, 2], text=["Blue Pen", poison])
    expected = (
        "the profile of user 'ann' (2 events) contains the title 'AT&T Phone' of event 3 of user "
        "'ann', item 'p3' at time 102 (validation)"
    )
    with pytest.raises(ProtocolError, match=re.escape(expected)):
        require_no_leak(profiles, one_out)
    require_no_leak(profiles, one_out, "valid")


def test_poison_from_the_test_part_is_refused_in_both_views(one_out):
    profiles = users(user_id=["ann"], n_events=[1], text=["see {{ 7*7 }} Notes!"])
    for part in ("train", "valid"):
        with pytest.raises(ProtocolError, match=r"'p4' at time 103 \(test\)"):
            require_no_leak(profiles, one_out, part)


def test_the_title_of_somebody_elses_held_out_item_is_no_leak(one_out):
    require_no_leak(users(user_id=["ann"], n_events=[2], text=["Étui 日本 🖋"]), one_out)
    with pytest.raises(ProtocolError, match="the title 'Étui 日本 🖋' of event 4 of user 'bob'"):
        require_no_leak(users(user_id=["bob"], n_events=[2], text=["Étui 日本 🖋"]), one_out)


def test_a_held_out_item_that_was_chosen_in_training_too_is_no_leak(one_out):
    # bob's test item is new to him; eve's p1 is hers in training
    require_no_leak(users(user_id=["eve"], n_events=[6], text=["Blue Pen, Ink Pot"]), one_out)
    with pytest.raises(ProtocolError, match="'AT&T Phone' of event 5 of user 'bob'"):
        require_no_leak(users(user_id=["bob"], n_events=[3], text=["AT&T Phone"]), one_out)


def shop(titles, sequence, brands=None):
    """One user whose last two items are held out."""
    ids = list(range(len(titles)))
    frame = {"item_id": ids, "title": titles}
    if brands is not None:
        frame["brand"] = brands
    events = pl.DataFrame({"user_id": ["u"] * len(sequence), "item_id": sequence})
    data = Dataset("titles", Interactions(events), Catalog(pl.DataFrame(frame)))
    return leave_one_out(data)


def test_a_title_counts_only_as_words_of_its_own():
    split = shop(["Items", "It", "Heat"], [0, 1, 2])
    require_no_leak(users(user_id=["u"], n_events=[1], text=["Many items, wheat"]), split)
    with pytest.raises(ProtocolError, match="the title 'It' of event 2"):
        require_no_leak(users(user_id=["u"], n_events=[1], text=["Items and it"]), split)
    with pytest.raises(ProtocolError, match="the title 'Heat' of event 3"):
        require_no_leak(users(user_id=["u"], n_events=[1], text=["it; HEAT."]), split, "valid")


def test_scripts_without_blanks_are_searched_too():
    split = shop(["ペン", "インク", "紙"], [0, 1, 2])
    with pytest.raises(ProtocolError, match="the title 'インク'"):
        require_no_leak(users(user_id=["u"], n_events=[1], text=["次はインクです"]), split)


@pytest.mark.parametrize(
    ("titles", "brands"),
    [
        (["Comb", "Hair Comb with Case"], None),  # within a longer training title
        (["Comb", "Brush"], ["x", "Comb"]),  # the brand of a training item
    ],
)
def test_a_title_that_training_explains_is_no_leak(titles, brands):
    third = [*titles, "Mirror"]
    split = shop(third, [1, 0, 2], None if brands is None else [*brands, "y"])
    require_no_leak(users(user_id=["u"], n_events=[1], text=["Chose a Comb"]), split)
    with pytest.raises(ProtocolError, match="the title 'Mirror'"):  # which training does not
        require_no_leak(users(user_id=["u"], n_events=[1], text=["Comb and mirror"]), split)


def test_everyday_words_can_be_left_out():
    split = shop(["Pen", "Ink", "Paper"], [0, 1, 2])
    profiles = users(user_id=["u"], n_events=[1], text=["Writes with ink."])
    with pytest.raises(ProtocolError, match="pass shortest_title"):
        require_no_leak(profiles, split)
    require_no_leak(profiles, split, shortest_title=4)


def test_items_without_a_title_are_not_looked_for():
    split = shop(["Pen", None, " "], [0, 1, 2])
    profiles = users(user_id=["u"], n_events=[1], text=["1 Pen, 2 Pens"])
    require_no_leak(profiles, split)
    with pytest.raises(ProtocolError, match="the title '2 Pens' of event 2"):
        require_no_leak(profiles, shop(["Pen", "2 Pens", " "], [0, 1, 2]))


def items(**columns):
    return Profiles.from_frame(pl.DataFrame(columns), "item")


def test_item_profiles_that_used_held_out_events_are_refused(one_out):
    # in training p3 happened to eve alone, at 500 and 503
    require_no_leak(items(item_id=["p3"], n_events=[2], newest_time=[503], text=["a"]), one_out)
    expected = (
        "item 'p3' uses 3 events, later or more than its 2 in the train part of split "
        "leave_one_out of shop; event 3 of user 'ann', item 'p3' at time 102 (validation)"
    )
    with pytest.raises(ProtocolError, match=re.escape(expected)):
        require_no_leak(items(item_id=["p3"], n_events=[3], text=["a"]), one_out)
    # p4 happened in training to bob at 202 and its newest event is held out
    late = items(item_id=["p4"], n_events=[1], newest_time=[506], text=["a"])
    with pytest.raises(ProtocolError, match="uses 1 events, the newest at time 506, later"):
        require_no_leak(late, one_out)


def test_item_profiles_that_saw_validation_are_refused(split, catalog, tmp_path):
    writer = TemplateWriter(load_template("item_profile_llm"))
    requests = item_requests(catalog, split.train_histories(include_valid=True), prefixes=99)
    profiles = write_profiles(requests, writer, tmp_path)
    with pytest.raises(ProtocolError, match="up to the valid part"):
        require_no_leak(profiles, split)
    with pytest.raises(ProtocolError, match="held out"):
        require_no_leak(dataclasses.replace(profiles, origin=None), split)


def test_items_that_were_never_in_training_pass_with_catalog_facts(one_out):
    require_no_leak(items(item_id=["p5", "p6"], text=["p5", "Étui 日本 🖋"]), one_out)
    with pytest.raises(ProtocolError, match="item 'p5' uses 1 events"):
        require_no_leak(items(item_id=["p5"], n_events=[1], text=["p5"]), one_out)


def test_strangers_and_bad_arguments(one_out):
    with pytest.raises(UnknownIdError, match="unknown user id: 'zoe'"):
        require_no_leak(users(user_id=["zoe"], n_events=[1], text=["a"]), one_out)
    with pytest.raises(UnknownIdError, match="unknown item id: 'p99'"):
        require_no_leak(items(item_id=["p99"], text=["a"]), one_out)
    claim = users(user_id=["ann"], n_events=[1], newest_item=["p99"], text=["a"])
    with pytest.raises(UnknownIdError, match="unknown item id: 'p99'"):
        require_no_leak(claim, one_out)
    with pytest.raises(ConfigError, match="unknown part 'test'"):
        require_no_leak(items(item_id=["p5"], text=["a"]), one_out, "test")


def test_texts_are_searched_in_blocks(one_out, catalog, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.profiles.guard._PAIRS_AT_ONCE", 2)
    profiles = user_profiles(one_out.train_histories(), catalog, tmp_path)
    require_no_leak(profiles, one_out)
    last = profiles.frame.with_columns(
        pl.when(pl.int_range(pl.len()) == pl.len() - 1)
        .then(pl.lit("Étui 日本 🖋"))
        .otherwise("text")
        .alias("text")
    )
    with pytest.raises(ProtocolError, match="'Étui 日本 🖋' of event 8 of user 'eve'"):
        require_no_leak(Profiles.from_frame(last, "user"), one_out)
