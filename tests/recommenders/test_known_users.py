import numpy as np
import polars as pl
import pytest

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import UnknownIdError
from llmrec.recommenders.known_users import histories_of

ITEMS = Vocabulary(["pen", "ink", "paper"])
KNOWN = Histories.from_lists({"ann": ["pen", "ink"], "bob": ["ink"], "cleo": ["paper"]}, ITEMS)


@pytest.mark.parametrize(
    ("users", "expected"),
    [("bob", ["bob"]), (["cleo", "ann"], ["cleo", "ann"]), (pl.Series(["ann"]), ["ann"])],
)
def test_ids_give_their_histories_in_the_order_asked_for(users, expected):
    found = histories_of(KNOWN, users, "error")
    assert found.user_ids.to_list() == expected
    items = {"ann": ["pen", "ink"], "bob": ["ink"], "cleo": ["paper"]}
    for row, user in enumerate(expected):
        assert ITEMS.decode(found[row]).to_list() == items[user]


def test_strangers_are_named_or_skipped():
    with pytest.raises(UnknownIdError, match="zoe"):
        histories_of(KNOWN, ["ann", "zoe"], "error")
    assert histories_of(KNOWN, ["zoe", "bob"], "skip").user_ids.to_list() == ["bob"]


def test_histories_are_given_back_and_without_any_ids_mean_nothing():
    assert histories_of(None, KNOWN, "error") is KNOWN
    with pytest.raises(UnknownIdError, match="pass Histories instead"):
        histories_of(None, ["ann"], "skip")


def test_one_id_out_of_an_array_is_one_user():
    numbered = Histories.from_lists({7: ["pen"], 3: ["ink", "pen"]}, ITEMS)
    for known, ids in ((numbered, np.array([7, 3])), (KNOWN, np.array(["bob", "ann"]))):
        for user in ids:
            found = histories_of(known, user, "error")
            assert found.user_ids.to_list() == [user.item()]
    with pytest.raises(UnknownIdError, match="9"):
        histories_of(numbered, np.int32(9), "error")
