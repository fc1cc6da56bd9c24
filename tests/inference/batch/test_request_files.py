"""Requests in files."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import ConfigError, DataError
from llmrec.inference.batch.request_files import (
    read_requests,
    request_from_json,
    request_to_json,
)
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest

TEXTS = st.text(st.characters(codec=None), min_size=1, max_size=5)


@given(
    st.one_of(
        st.builds(
            GenerateRequest,
            TEXTS,
            st.builds(
                Decoding,
                temperature=st.floats(0, 2),
                seed=st.integers(0, 2**63),
                stop=st.lists(TEXTS, max_size=2).map(tuple),
            ),
            adapter=st.none() | TEXTS,
        ),
        st.builds(
            ScoreRequest, TEXTS, st.none() | st.lists(TEXTS, min_size=1, max_size=3).map(tuple)
        ),
    )
)
def test_a_request_survives_its_line(request_):
    assert request_from_json(request_to_json(request_)) == request_


def test_lines_with_defaults_and_blank_lines(tmp_path):
    path = tmp_path / "asked.jsonl"
    rows = [{"prompt": "a é"}, {"prompt": "b", "decoding": {"max_tokens": 3, "stop": ["."]}}]
    path.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    assert read_requests(path, "generate") == [
        GenerateRequest("a é"),
        GenerateRequest("b", Decoding(max_tokens=3, stop=(".",))),
    ]


def test_parquet_with_nulls(tmp_path):
    rows = [
        {"prompt": "a", "continuations": ["x", "y"], "logprobs": 2},
        {"prompt": "b", "continuations": None, "logprobs": None},
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "asked.parquet")
    assert read_requests(tmp_path / "asked.parquet", "score") == [
        ScoreRequest("a", ("x", "y"), logprobs=2),
        ScoreRequest("b"),
    ]
    nested = [{"prompt": "a", "decoding": {"max_tokens": 3, "temperature": None}}]
    pl.DataFrame(nested).write_parquet(tmp_path / "nested.parquet")
    found = read_requests(tmp_path / "nested.parquet", "generate")
    assert found == [GenerateRequest("a", Decoding(max_tokens=3))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"promt": "a"}', r"row 2: prompt: Field required"),
        ('{"prompt": "a", "temperature": 1}', r"row 2: temperature: Unexpected"),
        ('{"prompt": "a", "decoding": {"max_tokens": "5"}}', r"row 2: decoding.max_tokens: .*int"),
        ('{"prompt": "a", "decoding": {"max_tokens": 0}}', r"row 2: decoding: max_tokens is 0"),
        ('{"prompt": "a"', r"row 2: .*Invalid JSON"),
        ('["a"]', r"row 2: "),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, message):
    path = tmp_path / "asked.jsonl"
    path.write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(DataError, match=message):
        read_requests(path, "generate")


def test_files_that_hold_no_requests(tmp_path):
    with pytest.raises(ConfigError, match=r"expected \.jsonl or \.parquet"):
        read_requests(tmp_path / "asked.csv", "score")
    with pytest.raises(ConfigError, match="did you mean 'score'"):
        read_requests(tmp_path / "asked.jsonl", "scores")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_requests(tmp_path / "none.jsonl", "score")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="no readable parquet"):
        read_requests(tmp_path / "bad.parquet", "score")
