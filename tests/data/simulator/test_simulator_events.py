import numpy as np
import polars as pl
import pytest

from llmrec.data.simulator import preset, simulate

# A preset's data may change only under another version and with a decision note.
FINGERPRINTS = {
    "simulate:tiny@1": "d8b806b644f1a2cd",
    "simulate:small@1": "b0b575c9691e0372",
}


@pytest.fixture(scope="module")
def frame(small):
    return small.dataset.interactions.frame


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_presets_are_frozen(name):
    assert simulate(name).dataset.fingerprint == FINGERPRINTS[name]


def test_the_same_seed_gives_the_same_exposures_and_another_seed_other_data():
    first, again = (simulate("simulate:tiny@1", seed=3) for _ in range(2))
    other = simulate("simulate:tiny@1", seed=4)
    assert first.exposures.equals(again.exposures)
    assert first.dataset.fingerprint == again.dataset.fingerprint != other.dataset.fingerprint


def test_columns_and_types(frame):
    assert dict(frame.schema) == {
        "user_id": pl.Int64,
        "item_id": pl.Int64,
        "timestamp": pl.Int64,
        "session_id": pl.Int64,
        "kind": pl.String,
        "dwell": pl.Float64,
        "label": pl.Int8,
    }


def test_every_user_has_events_and_takes_no_item_twice(small, frame):
    settings = small.preset.sessions
    counts = frame.group_by("user_id").agg(pl.len(), pl.col("item_id").n_unique().alias("distinct"))
    assert counts["user_id"].sort().to_list() == list(range(1, 1501))
    assert (counts["len"] == counts["distinct"]).all()
    assert settings.fewest <= counts["len"].min() < counts["len"].max() <= settings.most
    assert 30_000 <= frame.height <= 60_000


def test_time_goes_forward_for_every_user(frame):
    steps = frame.select(pl.col("timestamp").diff().over("user_id"))["timestamp"].drop_nulls()
    assert steps.min() > 0


def test_sessions_are_contiguous_within_bounds_and_of_one_user(small, frame):
    changes = frame.select((pl.col("session_id") != pl.col("session_id").shift()).sum()).item()
    sessions = frame.group_by("session_id").agg(pl.len(), pl.col("user_id").n_unique())
    assert changes + 1 == sessions.height
    assert (sessions["user_id"] == 1).all()
    assert sessions["len"].max() == small.preset.sessions.longest
    last = frame.group_by("user_id").agg(pl.col("session_id").max())["session_id"]
    whole = sessions.filter(~pl.col("session_id").is_in(last.implode()))
    assert whole["len"].min() == small.preset.sessions.shortest


def test_sessions_lie_further_apart_than_their_events(frame):
    gap = pl.col("timestamp").diff().over("user_id")
    new = pl.col("session_id") != pl.col("session_id").shift()
    gaps = frame.select(gap.alias("gap"), new.alias("new")).drop_nulls()
    assert gaps.filter(~pl.col("new"))["gap"].max() <= 600 + 31


def test_nothing_is_consumed_before_it_is_released(small, frame):
    catalog = small.dataset.catalog.frame
    joined = frame.join(catalog, on="item_id")
    assert (joined["timestamp"] >= joined["released"]).all()
    assert (catalog["released"] > frame["timestamp"].min()).any()


def test_dwell_never_exceeds_the_item_and_decides_the_kind(small, frame):
    joined = frame.join(small.dataset.catalog.frame, on="item_id")
    share = joined["dwell"] / joined["duration"]
    assert share.max() <= 1.001
    assert joined.filter(share > 0.51)["kind"].unique().to_list() == ["consume"]
    assert joined.filter(share < 0.49)["kind"].unique().to_list() == ["click"]


def test_likes_follow_the_true_preference(small, frame):
    liked, other = (frame.filter(pl.col("label") == value) for value in (1, 0))
    assert 0.1 < frame["label"].mean() < 0.6
    means = []
    for part in (liked, other):
        users = part["user_id"].to_numpy()[:5_000]
        items = small.dataset.item_vocabulary.encode(part["item_id"][:5_000]) - 1
        match = small.truth.preference(users, part["timestamp"].to_numpy()[:5_000])
        means.append(match[np.arange(users.size), items].mean())
    assert means[0] > means[1] + 0.5


def topic_repeats(weight):
    """Share of events in the same main topic as the one before in the session."""
    base = preset("simulate:small@1")
    choice = base.choice.model_copy(update={"boredom": weight, "series": 0.0})
    settings = base.model_copy(update={"choice": choice, "users": 300})
    frame = simulate(settings).dataset
    events = frame.interactions.frame.join(frame.catalog.frame, on="item_id", maintain_order="left")
    same = pl.col("category") == pl.col("category").shift()
    inside = pl.col("session_id") == pl.col("session_id").shift()
    return events.select(same.filter(inside).mean()).item()


def test_boredom_makes_users_change_the_topic():
    assert topic_repeats(0.0) > topic_repeats(1.0) + 0.15


def test_tastes_drift_slowly(small):
    users = np.arange(1, 201)
    frame = small.dataset.interactions.frame.filter(pl.col("user_id") <= 200)
    first = frame.group_by("user_id", maintain_order=True).agg(pl.col("timestamp").first())
    early = small.truth.preference(users, first["timestamp"].to_numpy())
    late = small.truth.preference(users)
    similar = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(early, late, strict=True)])
    strangers = np.mean([np.corrcoef(early[i], late[i - 1])[0, 1] for i in range(200)])
    assert strangers + 0.2 < similar < 0.999
