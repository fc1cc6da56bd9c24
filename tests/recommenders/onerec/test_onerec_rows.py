"""Sessions and training rows, against loops over users."""

import numpy as np
import polars as pl
import pytest

from llmrec.data.dataset import Dataset
from llmrec.data.histories import Histories
from llmrec.data.interactions import Interactions
from llmrec.data.ragged import offsets_of
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import DataError
from llmrec.recommenders.onerec.generator.rows import SequenceRows, SessionRows
from llmrec.recommenders.onerec.generator.sessions import SessionRule, session_spans, told_sessions

LENGTHS = [4, 1, 7, 0, 12]


def histories(times=True, ratings=True, seed=0, **known):
    rng = np.random.default_rng(seed)
    total = sum(LENGTHS)
    rows = [np.sort(rng.integers(0, 12, n)) * 600 for n in LENGTHS]
    return Histories(
        pl.Series("user_id", range(len(LENGTHS))),
        rng.integers(1, 30, total).astype(np.int32),
        offsets_of(LENGTHS),
        Vocabulary(range(1, 30)),
        times=np.concatenate(rows).astype(np.int64) if times else None,
        ratings=rng.integers(1, 6, total).astype(np.float32) if ratings else None,
        **known,
    )


def with_sessions():
    """Events of which some say their session, and some whether they were liked."""
    rng = np.random.default_rng(3)
    sessions = np.sort(rng.integers(-1, 9, sum(LENGTHS)))
    return histories(sessions=sessions, labels=rng.integers(-1, 2, sum(LENGTHS)).astype(np.int8))


def users_of(data):
    for begin, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        yield slice(begin, end)


def sessions_by_loop(data, rule, most):
    """``(history, session)`` as lists of items, user by user."""
    found = []
    for span in users_of(data):
        items = data.items[span].tolist()
        if rule.group == "next":
            cuts = [(at, min(at + most, len(items))) for at in range(len(items))]
        else:
            times, cuts = data.times[span], []
            given, begin = data.sessions, 0
            for at in range(1, len(items) + 1):
                pause = at < len(items) and times[at] - times[at - 1] > rule.gap_seconds
                if rule.group == "given":
                    before, after = given[span][at - 1 : at + 1] if at < len(items) else (0, 0)
                    pause = before != after or after == -1
                if at == len(items) or pause:
                    cuts += [(c, min(c + most, at)) for c in range(begin, at, most)]
                    begin = at
        for begin, end in cuts:
            if begin == 0 or end - begin < rule.min_size:
                continue
            mean = np.mean(data.ratings[span][begin:end])
            if rule.min_rating is not None and mean < rule.min_rating:
                continue
            if rule.min_liked and (data.labels[span][begin:end] == 1).sum() < rule.min_liked:
                continue
            found.append((items[:begin], items[begin:end]))
    return found


RULES = {
    "next": SessionRule(),
    "next, large": SessionRule(min_size=3),
    "gap": SessionRule(group="gap", gap_seconds=600),
    "gap, rated": SessionRule(group="gap", gap_seconds=600, min_rating=3.0),
    "gap, large": SessionRule(group="gap", gap_seconds=1200, min_size=2),
    "given": SessionRule(group="given"),
    "given, liked": SessionRule(group="given", min_liked=1),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("most", [1, 3])
def test_sessions_against_a_loop(rule, most):
    data = with_sessions()
    expected = sessions_by_loop(data, RULES[rule], most)
    if not expected:
        with pytest.raises(DataError, match="finds no session"):
            session_spans(data, RULES[rule], most)
        return
    spans = session_spans(data, RULES[rule], most)
    rows = SessionRows(data, spans, 5, 3)
    assert len(rows) == len(expected)
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    for row, (history, session) in enumerate(expected):
        assert [i for i in batch.history[row].tolist() if i] == history[-5:]
        assert [i for i in batch.session[row].tolist() if i] == session
    assert batch.n_targets == 3 * sum(len(session) for _, session in expected)
    assert rows.row_lengths.tolist() == (batch.history > 0).sum(1).tolist()


@pytest.mark.parametrize("longest", [2, 5, 50])
def test_every_item_but_the_first_is_learnt_once_in_its_context(longest):
    data = histories()
    rows = SequenceRows(data, longest, 3)
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    assert rows.row_lengths.tolist() == (batch.session > 0).sum(1).tolist()
    learnt = []
    for session, learn in zip(batch.session.tolist(), batch.learn.tolist(), strict=True):
        items = [item for item in session if item]
        assert len(items) <= longest + 1
        learnt += [(tuple(items[:at]), items[at]) for at in np.flatnonzero(learn)]
    expected = []
    for span in users_of(data):
        items = data.items[span].tolist()
        expected += [(items[:at], items[at]) for at in range(1, len(items))]
    assert len(learnt) == len(expected)
    targets = sorted(item for _, item in learnt)
    assert targets == sorted(item for _, item in expected)
    for context, item in learnt:  # a context is the newest part of what came before the item
        assert any(
            item == i and tuple(before[len(before) - len(context) :]) == context
            for before, i in expected
        )


def test_what_the_data_lack_is_named():
    with pytest.raises(DataError, match="needs a clock"):
        session_spans(histories(times=False), SessionRule(group="gap"), 3)
    with pytest.raises(DataError, match="min_rating needs ratings"):
        session_spans(histories(ratings=False), SessionRule(min_rating=3), 3)
    with pytest.raises(DataError, match="have no column session_id; name the column"):
        session_spans(histories(), SessionRule(group="given"), 3)
    with pytest.raises(DataError, match="min_liked needs labels"):
        session_spans(histories(), SessionRule(min_liked=1), 3)
    with pytest.raises(DataError, match="no session with a history"):
        session_spans(histories(), SessionRule(min_size=40), 50)
    lonely = histories().take([1, 3])
    with pytest.raises(DataError, match="no training history has two events"):
        SequenceRows(lonely, 5, 3)


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_sessions_that_the_data_give(kind):
    frame = pl.DataFrame(
        {
            "user_id": ["a"] * 6 + ["b"] * 3,
            "item_id": ["p", "q", "r", "s", "p", "q", "r", "s", "q"],
            "timestamp": range(9),
            "session_id": pl.Series([1, 1, 2, 2, None, None, 2, 3, 3]).cast(kind),
        }
    )
    data = Dataset("shop", Interactions(frame)).histories
    assert data.sessions.tolist()[4:6] == [-1, -1]
    spans = session_spans(data, SessionRule(group="given"), 5)
    found = [
        (data.items[a:b].tolist(), data.items[b : b + n].tolist())
        for a, b, n in zip(*spans, strict=True)
    ]
    p, q, r, s = data.vocabulary.encode(["p", "q", "r", "s"]).tolist()
    assert found == [
        ([p, q], [r, s]),
        ([p, q, r, s], [p]),
        ([p, q, r, s, p], [q]),
        ([r], [s, q]),
    ]
    told = told_sessions(SessionRule(group="given"))
    assert (told["pseudo"], told["told"]) == (False, "sessions as the data give them (session_id)")
