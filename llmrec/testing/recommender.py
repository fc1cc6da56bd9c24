"""What every recommender promises, as tests to inherit.

Subclass :class:`RecommenderContract`, say how to make an unfitted model, and run pytest. The model
is fitted on a world of 14 users and 17 items, with string and with integer ids; it must be small
enough for that to take well under a second. Quality is not tested here: a model that ranks badly
but keeps its word passes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError, UnknownIdError
from llmrec.recommenders.base import BaseRecommender
from llmrec.testing.saving import SavingContract
from llmrec.testing.worlds import World, make_world

Model = BaseRecommender[Any]
Patch = pytest.MonkeyPatch


class RecommenderContract(SavingContract):
    """The suite; subclasses define :meth:`make`."""

    # ---- fitting ----

    def test_constructor_only_stores(self) -> None:
        """Nothing works before ``fit``, and the error says so."""
        model = self.make()
        assert not model.is_fitted
        calls: list[Callable[[], Any]] = [
            lambda: model.vocabulary,
            lambda: model.recommend(["x"]),
            lambda: model.score_catalog(make_world("strings").train),
            lambda: model.save_pretrained("never-written"),
        ]
        for call in calls:
            with pytest.raises(ArtifactError, match="not fitted"):
                call()

    def test_config_round_trip(self) -> None:
        """Settings survive JSON and make an equal model."""
        model = self.make()
        config = model.config_class.model_validate_json(model.config.model_dump_json())
        assert config == model.config
        assert type(model)(config).config == model.config
        assert type(model)(**model.config.model_dump()).config == model.config

    def test_unknown_option_is_named(self) -> None:
        """A misspelt setting is refused."""
        with pytest.raises(ConfigError, match="no_such_option"):
            type(self.make())(no_such_option=1)

    def test_fit_returns_the_model_and_leaves_its_input_alone(self, world: World) -> None:
        """``fit`` gives back the model and changes no array."""
        items, offsets = world.train.items.copy(), world.train.offsets.copy()
        model = self.make()
        assert model.fit(world.train) is model
        assert model.is_fitted
        assert model.vocabulary.ids.to_list() == world.items
        np.testing.assert_array_equal(world.train.items, items)
        np.testing.assert_array_equal(world.train.offsets, offsets)

    def test_training_data_is_remembered(self, fitted: Model, world: World) -> None:
        """``seen`` says what the model learnt from."""
        assert list(fitted.seen) == [world.train.origin]

    def test_same_seed_same_bits(self, fitted: Model, world: World) -> None:
        """Training again gives the same scores, bit for bit."""
        again = self.make().fit(world.train)
        assert_same_bits(scores(again, world), scores(fitted, world))

    def test_refit_forgets_the_earlier_data(self, world: World) -> None:
        """``fit`` a second time is ``fit`` the first time."""
        other = make_world(world.kind, n_users=9, n_items=11, seed=8)
        model = self.make().fit(other.train).fit(world.train)
        assert_same_bits(scores(model, world), scores(self.make().fit(world.train), world))
        assert list(model.seen) == [world.train.origin]
        with pytest.raises(UnknownIdError):
            model.recommend([other.users[0], world.unknown])

    def test_refused_fit_changes_nothing(self, world: World, monkeypatch: Patch) -> None:
        """Refused at once or at its very end, a fit leaves all of the earlier one."""
        model, other = self.make().fit(world.train), make_world(world.kind, n_items=11, seed=8)
        before, listed = scores(model, world), model.recommend(world.users, k=3)
        told = model.details.copy()
        with pytest.raises((ConfigError, DataError), match="no event"):
            model.fit(other.histories({world.unknown: []}))

        def refused(*arguments: Any, learn: Any = model._fit) -> None:
            learn(*arguments)
            raise DataError("refused at the end")

        monkeypatch.setattr(model, "_fit", refused)
        with pytest.raises(DataError, match="refused at the end"):
            model.fit(other.train)
        assert_same_bits(scores(model, world), before)
        assert model.recommend(world.users, k=3).equals(listed)
        assert (model.details, list(model.seen)) == (told, [world.train.origin])

    # ---- scores ----

    def test_catalog_scores(self, fitted: Model, world: World) -> None:
        """One float32 per item, all numbers, fresh at every call."""
        histories = world.strangers()
        found = fitted.score_catalog(histories)
        assert found.shape == (len(histories), len(world.items))
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        kept = found.copy()
        found[:] = -np.inf
        assert_same_bits(fitted.score_catalog(histories), kept)

    def test_rows_do_not_depend_on_each_other(self, fitted: Model, world: World) -> None:
        """A history scores the same alone, in a batch, and in a batch of another order."""
        histories = world.strangers((1, 7, 3, 9, 2, 5))
        together = fitted.score_catalog(histories)
        for row in range(len(histories)):
            alone = fitted.score_catalog(histories.take([row]))
            np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=1e-5)
        order = np.array([4, 0, 5, 2, 1, 3])
        shuffled = fitted.score_catalog(histories.take(order))
        np.testing.assert_allclose(shuffled, together[order], rtol=1e-4, atol=1e-5)

    def test_score_is_the_catalog_gathered(self, fitted: Model, world: World) -> None:
        """Candidates for everybody get the scores they have in the whole catalog."""
        histories, numbers = world.strangers(), [4, 0, 16, 4]
        found = fitted.score(histories, [world.items[number] for number in numbers])
        assert found.dtype == np.float32
        expected = fitted.score_catalog(histories)[:, numbers]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_score_with_a_list_per_history(self, fitted: Model, world: World) -> None:
        """Lists may differ in length; the rest is -inf."""
        histories, numbers = world.strangers(), [[3], [1, 2, 5], [16, 0], []]
        lists = [[world.items[number] for number in row] for row in numbers]
        found = fitted.score(histories, lists)
        assert found.shape == (4, 3)
        whole = fitted.score_catalog(histories)
        for row, wanted in enumerate(numbers):
            size = len(wanted)
            expected = whole[row, wanted]
            np.testing.assert_allclose(found[row, :size], expected, rtol=1e-4, atol=1e-5)
            assert (found[row, size:] == -np.inf).all()

    def test_unknown_candidate(self, fitted: Model, world: World) -> None:
        """An unknown item is named, or scored -inf where skipping is asked for."""
        histories = world.strangers()
        candidates = [world.items[2], world.unknown]
        for ask in (fitted.score, fitted.rank):
            with pytest.raises(UnknownIdError, match=str(world.unknown)):
                ask(histories, candidates)
        found = fitted.score(histories, candidates, on_unknown="skip")
        assert np.isfinite(found[:, 0]).all()
        assert (found[:, 1] == -np.inf).all()

    def test_candidates_that_do_not_fit(self, fitted: Model, world: World) -> None:
        """No candidate, lists for other histories, and ids of another type get a sentence."""
        histories = world.strangers()
        with pytest.raises(DataError, match="candidates is empty"):
            fitted.score(histories, [])
        with pytest.raises(DataError, match="2 candidate lists were given for 4 histories"):
            fitted.score(histories, [[world.items[0]], [world.items[1]]])
        with pytest.raises(DataError, match="item ids are"):
            fitted.score(histories, [world.wrong_type])

    def test_empty_history(self, fitted: Model, world: World) -> None:
        """A model that needs an event says whose is missing; others serve everybody."""
        histories = world.histories({world.users[0]: [1, 2], world.unknown: []})
        if fitted.scores_empty_histories:
            assert np.isfinite(fitted.score_catalog(histories)).all()
            assert fitted.recommend(histories, k=2)["user_id"].n_unique() == 2
            return
        for ask in (fitted.score_catalog, fitted.recommend):
            with pytest.raises(UnknownIdError, match=str(world.unknown)):
                ask(histories)
        served = fitted.recommend(histories, k=2, on_unknown="skip")
        assert served["user_id"].unique().to_list() == [world.users[0]]

    def test_histories_in_another_vocabulary(self, fitted: Model, world: World) -> None:
        """Ids count, not codes; an item the model does not have is named."""
        histories = world.strangers()
        mirrored = Vocabulary(world.items[::-1])
        assert_same_bits(
            fitted.score_catalog(histories.with_vocabulary(mirrored)),
            fitted.score_catalog(histories),
        )
        larger = Vocabulary([world.unknown, *world.items])
        foreign = Histories.from_lists({world.users[0]: [world.unknown]}, larger)
        for ask in (fitted.score_catalog, fitted.recommend):
            with pytest.raises(UnknownIdError, match=str(world.unknown)):
                ask(foreign)

    # ---- ranking candidates ----

    def test_rank_orders_each_list(self, fitted: Model, world: World) -> None:
        """All candidates, best first, ranks from 1; ties keep the order given."""
        histories, numbers = world.strangers(), [[3, 4], [1, 2, 5], [16, 0], [7]]
        lists = [[world.items[number] for number in row] for row in numbers]
        frame = fitted.rank(histories, lists)
        given = fitted.score(histories, lists)
        for row, user in enumerate(histories.user_ids):
            own = frame.filter(pl.col("user_id") == user)
            order = np.argsort(-given[row, : len(lists[row])], kind="stable")
            assert own["item_id"].to_list() == [lists[row][column] for column in order]
            assert own["rank"].to_list() == list(range(1, len(order) + 1))

    def test_rank_reads_any_iterable_once(self, fitted: Model, world: World) -> None:
        """Candidates may come from a generator."""
        histories, chosen = world.strangers(), world.items[3:9]
        expected = fitted.rank(histories, chosen)
        assert fitted.rank(histories, (item for item in chosen)).equals(expected)

    def test_rank_leaves_skipped_items_out(self, fitted: Model, world: World) -> None:
        """A skipped item has no rank and leaves no gap."""
        candidates = [world.unknown, world.items[2], world.items[3]]
        frame = fitted.rank(world.strangers((3,)), candidates, on_unknown="skip")
        assert sorted(frame["item_id"].to_list()) == sorted(world.items[2:4])
        assert frame["rank"].to_list() == [1, 2]

    # ---- recommending ----

    def test_frame_of_recommendations(self, fitted: Model, world: World) -> None:
        """Columns, types, users in the order asked for, ranks 1 to k."""
        users = [world.users[5], world.users[0], world.users[9]]
        frame = fitted.recommend(users, k=3)
        kind = pl.String if world.kind == "strings" else pl.Int64
        assert frame.schema == {
            "user_id": kind,
            "item_id": kind,
            "score": pl.Float32,
            "rank": pl.Int32,
        }
        assert frame["user_id"].to_list() == [user for user in users for _ in range(3)]
        assert frame["rank"].to_list() == [1, 2, 3] * 3
        assert fitted.recommend([], k=3).schema == frame.schema

    @pytest.mark.parametrize("exclude_seen", [True, False])
    def test_recommendations_are_the_best_of_the_catalog(
        self, fitted: Model, world: World, exclude_seen: bool
    ) -> None:
        """Brute force over all scores gives the same lists."""
        histories = world.strangers()
        frame = fitted.recommend(histories, k=5, exclude_seen=exclude_seen)
        allowed = np.ones((len(histories), len(world.items)), dtype=bool)
        if exclude_seen:
            for row in range(len(histories)):
                allowed[row, histories[row] - 1] = False
        assert_best(frame, fitted, world, histories, allowed, 5)

    def test_recommendations_among_candidates(self, fitted: Model, world: World) -> None:
        """Only candidates are chosen; unknown ones are named or skipped."""
        histories, numbers = world.strangers(), [2, 3, 11, 12, 13]
        chosen = [world.items[number] for number in numbers]
        allowed = np.zeros((len(histories), len(world.items)), dtype=bool)
        allowed[:, numbers] = True
        frame = fitted.recommend(histories, k=4, candidates=chosen, exclude_seen=False)
        assert_best(frame, fitted, world, histories, allowed, 4)
        with pytest.raises(UnknownIdError, match=str(world.unknown)):
            fitted.recommend(histories, k=4, candidates=[*chosen, world.unknown])
        wider: list[Any] = [*chosen, world.unknown]
        skipped = fitted.recommend(
            histories, k=4, candidates=wider, exclude_seen=False, on_unknown="skip"
        )
        assert skipped.equals(frame)

    def test_candidate_lists_are_for_rank(self, fitted: Model, world: World) -> None:
        """A list per user is refused, and the error says where it belongs."""
        lists = [[world.items[0]], [world.items[1]]]
        with pytest.raises(ConfigError, match="rank"):
            fitted.recommend(world.users[:2], k=1, candidates=lists)

    def test_fewer_items_than_asked_for(self, fitted: Model, world: World) -> None:
        """Who has seen nearly everything gets what is left."""
        history = world.histories({world.unknown: range(len(world.items) - 2)})
        frame = fitted.recommend(history, k=5)
        assert sorted(frame["item_id"].to_list()) == sorted(world.items[-2:])
        assert frame["rank"].to_list() == [1, 2]

    @pytest.mark.parametrize("k", [0, -1, 18])
    def test_k_out_of_range(self, fitted: Model, world: World, k: int) -> None:
        """``k`` must fit the catalog."""
        with pytest.raises(ConfigError, match=rf"k={k} .*17 items"):
            fitted.recommend(world.users[:1], k=k)
        with pytest.raises(ConfigError, match=r"k=3 .*2 items"):
            fitted.recommend(world.users[:1], k=3, candidates=world.items[:2])

    def test_known_users_are_served_by_id(self, fitted: Model, world: World) -> None:
        """An id stands for the user's training history."""
        rows = [7, 1]
        by_id = fitted.recommend([world.users[row] for row in rows], k=4)
        assert by_id.equals(fitted.recommend(world.train.take(rows), k=4))

    def test_unknown_user(self, fitted: Model, world: World) -> None:
        """An id without a history is named, or skipped where that is asked for."""
        users = [world.users[3], world.unknown]
        with pytest.raises(UnknownIdError, match=f"user id: {world.unknown!r}"):
            fitted.recommend(users)
        served = fitted.recommend(users, k=2, on_unknown="skip")
        assert served["user_id"].unique().to_list() == [world.users[3]]
        with pytest.raises(DataError, match="user ids are"):
            fitted.recommend([world.wrong_type])

    def test_users_can_be_served_from_newer_histories(self, world: World) -> None:
        """``serve`` replaces what known users did, without training."""
        model = self.make().fit(world.train)
        newer = world.histories({world.users[0]: [1, 2, 3], world.unknown: [4, 5]})
        served = model.serve(newer).recommend([world.unknown], k=3)
        assert served.equals(model.recommend(newer.take([1]), k=3))
        with pytest.raises(UnknownIdError, match=str(world.users[1])):
            model.recommend([world.users[1]])


def scores(model: Model, world: World) -> npt.NDArray[np.float32]:
    """Scores of the same histories for every model."""
    return model.score_catalog(world.strangers())


def assert_same_bits(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> None:
    """Equal as bytes: -0.0 is not 0.0."""
    np.testing.assert_array_equal(left.view(np.uint32), right.view(np.uint32))


def assert_best(
    frame: pl.DataFrame,
    model: Model,
    world: World,
    histories: Histories,
    allowed: npt.NDArray[np.bool_],
    k: int,
) -> None:
    """Each list holds distinct allowed items with the ``k`` highest scores, in order."""
    code_of = {item: column for column, item in enumerate(world.items)}
    whole = model.score_catalog(histories)
    for row, user in enumerate(histories.user_ids):
        own = frame.filter(pl.col("user_id") == user)
        columns = [code_of[item] for item in own["item_id"]]
        size = min(k, int(allowed[row].sum()))
        assert len(set(columns)) == len(columns) == size
        assert allowed[row, columns].all()
        best = np.sort(whole[row, allowed[row]])[::-1][:size]
        np.testing.assert_allclose(own["score"].to_numpy(), best, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(whole[row, columns], best, rtol=1e-4, atol=1e-5)
