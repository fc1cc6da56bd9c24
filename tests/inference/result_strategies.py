"""Any result, as Hypothesis strategies, and comparison bit for bit."""

from dataclasses import fields

import numpy as np
from hypothesis import strategies as st

from llmrec.inference.results import Generation, Score, Scored
from llmrec.inference.signature import FLOOR, SignatureRecord

texts = st.text(st.characters(codec=None), max_size=6)  # halves of surrogate pairs included


@st.composite
def records(draw):
    """Shapes, texts and numbers are searched; arrays are random, with every kind of value."""
    n, k = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def row():
        return rng.choice([0.0, -1e-30, FLOOR, *-rng.random(9) * 50], n).astype(np.float32)

    def maybe(array):
        return array if rng.random() < 0.5 else None

    actual = row()
    actual[rng.random(n) < 0.3] = np.nan
    values = np.sort(rng.choice(-rng.random(9) * 99, (n, k)).astype(np.float32))[:, ::-1]
    return SignatureRecord(
        values,
        rng.random((n, k)) < 0.8,
        actual,
        rng.integers(0, 2**31, n, dtype=np.int32),
        rng.random(n) < 0.5,
        row(),
        draw(st.none() | st.integers(1, 10**6)),
        draw(st.sampled_from(["raw_logprobs", "processed_logprobs", "unknown"])),
        draw(st.sampled_from(["input", "output"])),
        draw(st.booleans()),
        {"model": draw(texts), "adapter": draw(st.none() | texts)},
        maybe(rng.integers(-1, 2**31, (n, k), dtype=np.int32)),
        *(maybe(row()) for _ in range(4)),
        draw(st.floats(0, 2)),
        draw(st.floats(0.01, 1)),
        draw(st.integers(0, 100)),
        draw(st.none() | st.tuples(*[texts] * n)),
        draw(st.none() | texts),
    )


logprobs = st.floats(max_value=0, allow_nan=False)
generations = st.builds(
    Generation,
    texts,
    st.sampled_from(["stop", "length", None]),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.none() | logprobs,
    st.none() | records(),
    st.none() | texts,
)
scored = st.builds(Scored, logprobs, st.integers(0, 100), st.none() | records())
scores = st.builds(Score, st.lists(scored, max_size=3).map(tuple), st.integers(0, 100))


def assert_same(one, two):
    """Equal types and values; arrays also in their number type, NaN included."""
    assert type(one) is type(two)
    if isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    elif isinstance(one, Generation | Score | Scored | SignatureRecord):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(two, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(two)
        for left, right in zip(one, two, strict=True):
            assert_same(left, right)
    else:
        assert one == two
