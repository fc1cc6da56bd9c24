"""Profiles of a public set: nothing empty, nothing leaked, and planted leaks found."""

import dataclasses
import os
from pathlib import Path

import polars as pl
import pytest

from llmrec.data import leave_one_out
from llmrec.data.named import load_dataset
from llmrec.errors import ProtocolError
from llmrec.profiles import (
    Profiles,
    TemplateWriter,
    item_requests,
    require_no_leak,
    user_requests,
    write_profiles,
)
from llmrec.templates import load_template

HOME = os.environ.get("LLMREC_DATA_HOME")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        HOME is None or not Path(HOME, "amazon-office").is_dir(),
        reason="LLMREC_DATA_HOME is not set or has no amazon-office",
    ),
]


@pytest.fixture(scope="module")
def split():
    return leave_one_out(load_dataset("amazon-office"))


@pytest.fixture(scope="module")
def users(split, tmp_path_factory):
    requests = user_requests(split.train_histories(), split.dataset.catalog)
    writer = TemplateWriter(load_template("user_profile"))
    return write_profiles(requests, writer, tmp_path_factory.mktemp("users"), shard_size=20_000)


def test_every_prefix_has_a_text_and_none_leaks(split, users):
    assert len(users) == 38_543  # events less three per user
    assert users.texts.str.len_chars().min() > len("Chosen, newest first: ")
    require_no_leak(users, split)


@pytest.mark.parametrize("with_histories", [False, True])
@pytest.mark.parametrize("template", ["item_profile", "item_profile_llm"])
def test_every_item_has_a_text_and_none_leaks(split, tmp_path, template, with_histories):
    train = split.train_histories() if with_histories else None
    requests = item_requests(split.dataset.catalog, train)
    profiles = write_profiles(requests, TemplateWriter(load_template(template)), tmp_path)
    assert profiles.ids.to_list() == split.dataset.catalog.frame["item_id"].to_list()
    assert profiles.texts.str.len_chars().min() > 0
    require_no_leak(profiles, split)


def test_a_planted_test_title_is_found_among_all_texts(split, users):
    row = 30_000
    user = users.ids[row]
    owner = split.dataset.user_vocabulary.encode([user])[0] - 1
    target = int(split.dataset.histories[owner][-1])
    title = split.dataset.catalog.titles[target - 1]
    texts = users.texts.to_list()
    texts[row] += f"\nPerhaps {title} next"
    poisoned = users.frame.with_columns(pl.Series("text", texts))
    with pytest.raises(ProtocolError) as caught:
        require_no_leak(Profiles.from_frame(poisoned, "user"), split)
    assert f"the profile of user {user!r}" in str(caught.value)
    assert "(test)" in str(caught.value)


def test_profiles_of_full_histories_are_refused(split, users):
    frame = users.frame.with_columns(pl.col("n_events") + 2, newest_item=None, newest_time=None)
    late = dataclasses.replace(users, frame=frame, origin=None)
    with pytest.raises(ProtocolError, match=r"\(validation\) is held out"):
        require_no_leak(late, split)
