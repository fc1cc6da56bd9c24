"""Shards of requests and their results."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.requests import GenerateRequest, ScoreRequest
from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.shards import merge, parse_shard, shard, shard_path, write_shard

REQUESTS = [GenerateRequest(f"prompt {i}") for i in range(20)] + [ScoreRequest("p", ("a", "b"))]


def answer(request):
    if isinstance(request, ScoreRequest):
        return Score((Scored(-1.0, 1), Scored(-2.0, 1)), 1)
    return Generation(request.prompt.upper(), "stop", 2, 2)


def run(directory, number, count, requests=REQUESTS):
    mine = shard(requests, number, count)
    return write_shard(directory, number, count, mine, [answer(request) for request in mine])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30)), st.integers(1, 6))
def test_shards_are_a_partition_that_does_not_depend_on_order(numbers, count):
    requests = [GenerateRequest(str(number)) for number in numbers]
    parts = [shard(requests, i, count) for i in range(1, count + 1)]
    assert sorted(r.prompt for part in parts for r in part) == sorted(r.prompt for r in requests)
    for i, part in enumerate(parts, start=1):
        again = shard(requests[::-1], i, count)
        assert again == part[::-1]


def test_results_come_back_in_the_order_of_the_requests(tmp_path):
    for number in (3, 1, 2):
        run(tmp_path, number, 3)
    mixed = [*REQUESTS[::-1], REQUESTS[4]]
    assert merge(tmp_path, mixed) == [answer(request) for request in mixed]


def test_an_empty_shard_is_a_shard(tmp_path):
    for number in range(1, 13):
        run(tmp_path, number, 12, REQUESTS[:3])
    assert merge(tmp_path, REQUESTS[:3]) == [answer(request) for request in REQUESTS[:3]]


def test_missing_shards_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="has no shards"):
        merge(tmp_path / "nowhere", REQUESTS)
    run(tmp_path, 2, 4)
    with pytest.raises(ArtifactError, match="lacks shards 1/4, 3/4, 4/4; run them"):
        merge(tmp_path, REQUESTS)


def test_two_divisions_in_one_place(tmp_path):
    run(tmp_path, 1, 1)
    run(tmp_path, 1, 2)
    with pytest.raises(ArtifactError, match="mixes divisions into 1 and 2 shards"):
        merge(tmp_path, REQUESTS)


def test_shards_of_other_requests(tmp_path):
    run(tmp_path, 1, 1, REQUESTS[:-1])
    with pytest.raises(ArtifactError, match=r"for 1 of 21 requests \(places 20\)"):
        merge(tmp_path, REQUESTS)


def test_a_damaged_shard(tmp_path):
    run(tmp_path, 1, 1).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ArtifactError, match="no readable file of results"):
        merge(tmp_path, REQUESTS)


def test_a_shard_that_fails_leaves_the_earlier_file(tmp_path):
    path = run(tmp_path, 1, 1)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_shard(tmp_path, 1, 1, REQUESTS[:1], [None])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [shard_path(tmp_path, 1, 1)]


@pytest.mark.parametrize("text", ["1", "0/4", "5/4", "a/b", "1/0", "-1/4", "1/4/2", ""])
def test_what_is_no_shard(text):
    with pytest.raises(ConfigError, match="expected"):
        parse_shard(text)


def test_more_results_than_requests(tmp_path):
    with pytest.raises(ConfigError, match="0 requests but 1 results"):
        write_shard(tmp_path, 1, 1, [], [Generation()])
