import numpy as np
import pytest
from scripted_recommender import random_dataset, toy_split

from llmrec.data import Origin, global_time, leave_one_out, ratio
from llmrec.errors import ConfigError, ProtocolError
from llmrec.evaluation.protocol import Judging, Protocol, require_same, require_unseen
from llmrec.validation import validated


def protocol(split, part="test", limit=None, **judging):
    return Protocol.of(split, Judging(**({"metrics": ("ndcg@10",)} | judging)), part, limit)


def test_a_protocol_names_data_and_split_and_survives_json():
    split = toy_split()
    made = protocol(split)
    assert (made.dataset, made.dataset_fingerprint) == ("toy", split.dataset.fingerprint)
    assert (made.split.name, made.split.hash) == ("leave_one_out", split.hash)
    assert Protocol.model_validate_json(made.model_dump_json()) == made


def test_the_hash_ignores_which_metrics_and_slices_were_asked_for_and_nothing_else():
    split = toy_split()
    base = protocol(split)
    assert protocol(split, metrics=("mrr@5",), slices=("cold",)).hash == base.hash
    others = [
        protocol(split, "valid"),
        protocol(split, limit=3),
        protocol(split, filter_seen=False),
        protocol(split, history_length=5),
        protocol(ratio(split.dataset)),
        protocol(toy_split(seed=1)),
    ]
    assert len({made.hash for made in [base, *others]}) == 7


def test_description_is_one_line():
    line = protocol(toy_split(), history_length=50).describe()
    assert "leave_one_out test, full catalogue, seen items filtered, newest 50 events" in line
    assert "\n" not in line


def test_unlike_protocols_are_refused_by_the_fields_that_differ():
    split = toy_split()
    require_same(protocol(split), protocol(split, metrics=("mrr@5",)))
    with pytest.raises(ProtocolError, match=r"filter_seen \(True and False\)") as error:
        require_same(protocol(split), protocol(split, "valid", filter_seen=False))
    assert "part ('test' and 'valid')" in str(error.value)
    assert "split" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metrics": ["auc"]}, "metric 'auc' needs the judged pairs but candidates is 'catalog'"),
        ({"metrics": ["ndcg@5"], "candidates": "pairs"}, "needs the full catalogue"),
        ({"metrics": ["ndgc@5"]}, r"did you mean 'ndcg'"),
        ({"metrics": ["ndcg@5"], "slices": ["colds"]}, r"unknown slice 'colds'; did you mean"),
        ({"metrics": ["auc"], "candidates": "pairs", "slices": ["cold"]}, "leave them out"),
        ({"metrics": ["ndcg@5"], "filter_sen": 1}, r"unknown key 'filter_sen'; did you mean"),
        ({"metrics": []}, "metrics is"),
        ({}, "key 'metrics' is missing"),
        (["ndcg@5"], "must hold keys and values"),
    ],
)
def test_what_a_user_writes_wrongly_is_told_in_a_sentence(values, message):
    with pytest.raises(ConfigError, match=message) as error:
        validated(Judging, values, "my.yaml")
    assert str(error.value).startswith("my.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("part", "limit"), [("train", None), ("test", 0)])
def test_what_cannot_be_judged_is_refused(part, limit):
    with pytest.raises(ConfigError):
        protocol(toy_split(), part, limit)


# What a model has seen. Times of the toy data run from 1000 without gaps or repeats.


@pytest.mark.parametrize(
    ("trained", "judged", "fine"),
    [
        ("train", "valid", True),
        ("train", "test", True),
        ("valid", "test", True),
        ("valid", "valid", False),
        ("test", "test", False),
        ("test", "valid", False),
    ],
)
def test_the_same_split_allows_training_up_to_the_part_before(trained, judged, fine):
    split = toy_split()
    origin = Origin("toy", split.dataset.fingerprint, split.hash, trained, None)
    if fine:
        require_unseen([origin], split, judged)
    else:
        with pytest.raises(ProtocolError, match=rf"up to and including its {trained} part"):
            require_unseen([origin], split, judged)


def other(split, newest, name="toy", fingerprint=None):
    return Origin(name, fingerprint or split.dataset.fingerprint, "another", "train", newest)


def test_another_split_is_fine_only_if_all_its_events_are_older():
    split = global_time(random_dataset())
    first_valid, first_test = split.params["valid_from"], split.params["test_from"]
    require_unseen([other(split, first_valid - 1)], split, "valid")
    require_unseen([other(split, first_valid)], split, "test")
    for newest, part in [(first_valid, "valid"), (first_test, "test")]:
        with pytest.raises(ProtocolError, match=f"newest training event .time {newest}. is not"):
            require_unseen([other(split, newest)], split, part)


def test_another_split_without_times_is_refused():
    split = global_time(random_dataset())
    with pytest.raises(ProtocolError, match="carry no time"):
        require_unseen([other(split, None)], split, "test")
    order_only = toy_split(clock=False)
    with pytest.raises(ProtocolError, match="no clock"):
        require_unseen([other(order_only, 1)], order_only, "test")


def test_another_edition_under_the_same_name_and_the_same_data_under_another_name_count():
    split = toy_split()
    with pytest.raises(ProtocolError):
        require_unseen([other(split, None, fingerprint="edition-2")], split, "test")
    with pytest.raises(ProtocolError):
        require_unseen([other(split, None, name="renamed")], split, "test")


def test_other_data_and_no_data_are_fine_and_every_origin_is_looked_at():
    split = toy_split()
    elsewhere = other(split, None, name="books", fingerprint="books")
    require_unseen([], split, "test")
    require_unseen([elsewhere], split, "test")
    with pytest.raises(ProtocolError):
        require_unseen([elsewhere, other(split, None)], split, "test")


def test_a_later_leave_one_out_of_the_same_data_is_another_split():
    data = random_dataset()
    origin = leave_one_out(data).train_histories().origin
    split = ratio(data)
    assert origin.newest_event >= np.min(data.histories.times)
    with pytest.raises(ProtocolError, match="under another split"):
        require_unseen([origin], split, "test")
