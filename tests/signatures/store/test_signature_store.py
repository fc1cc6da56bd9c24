"""What goes into a store comes out of it, also after a stop, and damage is named."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ArtifactError, DataError
from llmrec.inference.signature import FLOOR, Position, record_of_positions
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore
from llmrec.signatures.store.store import read_stores
from llmrec.testing.signatures import labelled_signatures


def assert_same(stored, record):
    """Equal but for the rounding of the best values to float16."""
    for field in fields(record):
        value, found = getattr(record, field.name), getattr(stored, field.name)
        if field.name == "topk_logprobs":
            np.testing.assert_array_equal(found, value.astype(np.float16).astype(np.float32))
        elif isinstance(value, np.ndarray):
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(found, value)
        else:
            assert found == value, field.name


def test_a_set_comes_back_but_for_float16(tmp_path):
    records, labels = labelled_signatures(12, seed=0, k=5)
    records[3] = replace(records[3], topk_ids=None, row_mean=None, tokens=None)
    records[4] = replace(records[4], text="not its tokens", temperature=0.7, top_p=0.9, top_k=40)
    records[5] = replace(records[5], text="".join(records[5].tokens), has_eos=True)
    signatures = SignatureSet.of(records, labels, list("aabbccddeeff"), task=["x"] * 12)
    store = SignatureStore(tmp_path / "s", records_per_shard=5)
    assert store.append(signatures) == 12
    found = SignatureStore(tmp_path / "s").read()
    assert found.examples.equals(signatures.examples)
    for stored, record in zip(found.records, records, strict=True):
        assert_same(stored, record)
    assert [shard.records for shard in store.shards] == [5, 5, 2]


@given(st.lists(st.text(st.characters(codec=None), max_size=4), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_any_text_of_a_token_comes_back(tmp_path_factory, tokens):
    positions = [Position([-0.5, -9999.0, -1.5], actual=0) for _ in tokens]
    record = record_of_positions(
        positions, 4, vocab_size=None, mode="unknown", kind="output", has_eos=False,
        tokens=tuple(tokens), text="".join(tokens),
    )  # fmt: skip
    store = SignatureStore(tmp_path_factory.mktemp("store") / "s")
    store.append(SignatureSet.of([record]))
    assert_same(store.read().records[0], record)


def test_the_floor_and_rows_without_values_keep_their_marks(tmp_path):
    positions = [Position([-0.1, float("-inf")], actual=0), Position([], actual_logprob=-2.0)]
    record = record_of_positions(
        positions, 3, vocab_size=9, mode="unknown", kind="output", has_eos=False
    )
    store = SignatureStore(tmp_path / "s")
    store.append(SignatureSet.of([record]))
    stored = store.read().records[0]
    assert_same(stored, record)
    assert stored.topk_logprobs[1].tolist() == [FLOOR] * 3
    assert stored.topk_valid.tolist() == [[True, True, False], [False] * 3]


def test_a_stopped_capture_goes_on(tmp_path):
    records, labels = labelled_signatures(10, seed=1)
    ids = [f"q{i}" for i in range(10)]
    store = SignatureStore(tmp_path / "s")
    store.append(SignatureSet.of(records[:4], labels[:4], ids=ids[:4]))
    again = SignatureStore(tmp_path / "s")
    assert again.ids == {"q0", "q1", "q2", "q3"}
    assert again.append(SignatureSet.of(records, labels, ids=ids)) == 6
    assert again.read().ids == ids
    assert again.append(SignatureSet.of(records, labels, ids=ids)) == 0


def test_a_shard_left_by_a_kill_is_written_over(tmp_path):
    records, _ = labelled_signatures(4, seed=1)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "shard-00000.parquet").write_bytes(b"never listed")
    store = SignatureStore(tmp_path / "s")
    assert store.append(SignatureSet.of(records)) == 4
    assert len(store.read()) == 4


def test_every_source_has_shards_of_its_own(tmp_path):
    records, _ = labelled_signatures(4, seed=0)
    records[1] = replace(records[1], fingerprint={"model": "other"})
    records[2] = replace(records[2], mode="processed_logprobs")
    store = SignatureStore(tmp_path / "s")
    store.append(SignatureSet.of(records))
    assert [(s.records, s.mode, s.fingerprint["model"]) for s in store.shards] == [
        (2, "raw_logprobs", "drawn"),
        (1, "raw_logprobs", "other"),
        (1, "processed_logprobs", "drawn"),
    ]
    assert store.read().ids == ["0", "3", "1", "2"]


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_named(tmp_path, damage):
    records, _ = labelled_signatures(4, seed=0)
    store = SignatureStore(tmp_path / "s")
    store.append(SignatureSet.of(records))
    file = tmp_path / "s" / "shard-00000.parquet"
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-9] if damage == "cut" else data[:50] + b"?" + data[51:])
    with pytest.raises(ArtifactError, match=r"shard-00000\.parquet is missing, truncated or"):
        SignatureStore(tmp_path / "s").read()


def test_other_folders_and_columns_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is no store of signatures"):
        SignatureStore(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "signatures.json").write_text('{"format": 99}')
    with pytest.raises(ArtifactError, match="of format 1"):
        SignatureStore(tmp_path / "bad")
    records, _ = labelled_signatures(2, seed=0)
    with pytest.raises(DataError, match="must be called otherwise"):
        SignatureStore(tmp_path / "s").append(SignatureSet.of(records, **{"signature/k": [1, 2]}))


def test_stores_of_several_machines_are_read_together(tmp_path):
    records, _ = labelled_signatures(4, seed=0)
    for part in range(2):
        ids = [f"{part}-{i}" for i in range(2)]
        half = records[2 * part : 2 * part + 2]
        SignatureStore(tmp_path / str(part)).append(SignatureSet.of(half, ids=ids))
    assert read_stores([tmp_path / "0", tmp_path / "1"]).ids == ["0-0", "0-1", "1-0", "1-1"]
    with pytest.raises(ArtifactError, match=r"it has no signatures\.json"):
        read_stores([tmp_path / "none"])


def test_bytes_per_token_at_k_20(tmp_path):
    """At most 60 without ids and 150 with them, moments over the vocabulary included."""
    records, _ = labelled_signatures(60, seed=0, k=20, lengths=(80, 100), width=200)
    store = SignatureStore(tmp_path / "ids")
    store.append(SignatureSet.of(records))
    assert store.bytes_per_position <= 150
    bare = [replace(record, topk_ids=None) for record in records]
    store = SignatureStore(tmp_path / "bare")
    store.append(SignatureSet.of(bare))
    assert store.bytes_per_position <= 60
