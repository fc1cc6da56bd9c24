"""What parts of a model have seen, and when that is told before the training."""

import warnings

import pytest

from llmrec.data.histories import Origin
from llmrec.recommenders.provenance import seen_with_parts

TRAINED = Origin("shop", "f1", "s1", "train", 100)


@pytest.mark.parametrize(
    "origin",
    [
        Origin("shop", "f1", "s1", "valid", 120),
        Origin("shop", "f1", "s2", "train", 101),
        Origin("shop", "f2", "s2", "train", None),
        Origin("another name", "f1", "s2", "train", 101),
    ],
)
def test_what_may_be_later_is_told(origin):
    with pytest.warns(UserWarning, match=f"onerec: .* {origin.part} of split {origin.split_hash}"):
        assert seen_with_parts("onerec", (TRAINED,), [origin]) == (TRAINED, origin)


@pytest.mark.parametrize(
    "origin",
    [
        TRAINED,
        Origin("shop", "f1", "s2", "train", 100),
        Origin("another shop", "f9", "s9", "test", 500),
    ],
)
def test_what_is_not_later_is_kept_in_silence(origin):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(seen_with_parts("onerec", (TRAINED,), [origin])) == {TRAINED, origin}
        assert seen_with_parts("onerec", (), [origin, origin]) == (origin,)
