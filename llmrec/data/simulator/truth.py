"""What the simulator knows: the distribution of the next event, the taste, the worth of a session.

All figures are exact, none is estimated by simulation. Users are named by their ids, moments by a
position (number of earlier events) or by a time (Unix seconds; events before it have happened).
Item arrays have one column per item, in the order of the vocabulary's codes. Nothing here is ever
an input of a model.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.simulator.events import State
from llmrec.data.simulator.items import Float, Int
from llmrec.data.simulator.moments import Moments, Times
from llmrec.data.simulator.session_value import Outcomes, SessionValue
from llmrec.data.simulator.users import interest_odds
from llmrec.data.splits import Cases
from llmrec.data.vocabulary import Ids, Vocabulary


@dataclass(frozen=True)
class Attainable:
    """The ndcg@k of ranking by the true probabilities.

    Attributes:
        expected: Mean over the cases of the expectation of ndcg@k. No model that does not know the
            future can expect more.
        realised: ndcg@k on the targets that happened; it differs from ``expected`` by chance.
        n: Number of cases.
    """

    expected: float
    realised: float
    n: int


class Truth:
    """The ground truth of one simulation.

    Args:
        moments: The users at any moment.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._worth = SessionValue(moments)

    @property
    def users(self) -> Vocabulary:
        """The simulated users."""
        return self._moments.users

    @property
    def vocabulary(self) -> Vocabulary:
        """The items; column ``j`` of an item array is code ``j + 1``."""
        return self._moments.vocabulary

    def next_item_probabilities(self, user_ids: Ids, positions: npt.ArrayLike) -> Float:
        r"""True distribution of the event at each position: ``[n, items]`` float64.

        Given is everything up to the request: taste, the session's interest, boredom, the last
        item, the items taken before (they have probability 0) and whether the request opens a
        session. Where it does, the interest is not yet drawn and is summed out over the topics k:
        ``P(i) = sum_k p(k | taste) softmax_i(pull + interest e_k)``. The softmax over the catalog
        is derived in :mod:`llmrec.data.simulator.choice`.

        Args:
            user_ids: ``[n]`` user ids, which may repeat.
            positions: ``[n]`` number of earlier events, at most the length of the history; there
                it is the distribution of the first event of one more session.

        Raises:
            UnknownIdError: A user is unknown.
            DataError: A position lies outside the user's history.
        """
        state, taken = self._moments.at_positions(self._moments.rows(user_ids), positions)
        choices, settings = self._moments.world.choices, self._moments.world.preset.choice
        result = choices.probabilities(state.pull, state.period, state.last, taken)
        rows = np.flatnonzero(state.opens)
        if rows.size and settings.interest:
            result[rows] = self._over_interests(_take(state, rows), taken[rows])
        return result

    def best_possible(self, cases: Cases, k: int = 10) -> Attainable:
        """The ndcg@k that ranking by the true probabilities reaches on cases of one target each.

        Seen items have probability 0, so filtering them or not makes no difference. The
        expectation is ``sum_{r <= k} p_(r) / log2(r + 1)`` with the probabilities in descending
        order. Only the first target of a case counts.
        """
        probabilities = self.next_item_probabilities(
            cases.histories.user_ids, cases.histories.lengths
        )
        best = -np.sort(-probabilities, axis=1)[:, :k]
        expected = (best / np.log2(np.arange(best.shape[1]) + 2)).sum(axis=1)
        codes = cases.histories.vocabulary.decode(cases.targets[cases.target_offsets[:-1]])
        target = self.vocabulary.encode(codes).astype(np.int64) - 1
        own = probabilities[np.arange(target.size), target][:, None]
        rank = 1 + (probabilities > own).sum(axis=1) + ((probabilities == own).sum(axis=1) - 1) / 2
        realised = np.where(rank <= k, 1 / np.log2(rank + 1), 0.0)
        return Attainable(float(expected.mean()), float(realised.mean()), len(cases))

    def preference(self, user_ids: Ids, times: Times = None) -> Float:
        """True long-term preference: ``[n, items]``, taste match plus quality, in log odds.

        Neither popularity nor what a session adds (interest, boredom, continuation) is in it.

        Args:
            user_ids: ``[n]`` user ids.
            times: Unix seconds, one for all or one per user; None is after the last event.

        Raises:
            UnknownIdError: A user is unknown.
        """
        world = self._moments.world
        taste = self._moments.at_times(self._moments.rows(user_ids), times).taste
        match = (taste @ world.items.mixtures.T)[:, world.items.profile]
        choice = world.preset.choice
        return np.asarray(choice.taste * match + choice.quality * world.items.quality)

    def outcomes(self, user_ids: Ids, sessions: npt.ArrayLike, times: Times = None) -> Outcomes:
        """Expected responses to given sessions, position by position.

        Args:
            user_ids: ``[n]`` user ids.
            sessions: ``[n, m]`` item codes, 0 for padding.
            times: Unix seconds, one for all or one per user; None is after the last event.

        Raises:
            UnknownIdError: A user is unknown.
            DataError: ``sessions`` has another shape or holds codes that are no items.
        """
        return self._worth.outcomes(self._moments.rows(user_ids), sessions, times)

    def session_values(self, user_ids: Ids, sessions: npt.ArrayLike, times: Times = None) -> Float:
        """True expected value of sessions in minutes: ``[n]``; arguments as in :meth:`outcomes`.

        The user goes on from item to item with probability ``stay``; what is reached brings its
        expected dwell and likes, both lowered by the boredom with what came before in the session.
        Padding, repeats, items taken before and items not yet released are worth nothing.
        """
        return self.outcomes(user_ids, sessions, times).value

    def session_value(self, user_id: int, items: Ids, time: int | None = None) -> float:
        """True expected value of one session, a list of item ids, for one user."""
        codes = self.vocabulary.encode(items)[None, :]
        return float(self.session_values([user_id], codes, time)[0])

    def best_sessions(
        self, user_ids: Ids, m: int, times: Times = None, width: int | None = 4
    ) -> tuple[Int, Float]:
        """Sessions of ``m`` items of highest true value: codes ``[n, m]`` and values ``[n]``.

        Args:
            user_ids: ``[n]`` user ids.
            m: Items in a session.
            times: Unix seconds, one for all or one per user; None is after the last event.
            width: Prefixes kept at each position: 1 is greedy; None keeps all, which is exact and
                possible for small catalogs and short sessions only.

        Raises:
            UnknownIdError: A user is unknown.
            ConfigError: ``m`` or ``width`` is out of range, or too large to be exact.
        """
        return self._worth.best(self._moments.rows(user_ids), m, times, width)

    def best_session(
        self, user_id: int, m: int, time: int | None = None, width: int | None = 4
    ) -> tuple[list[int], float]:
        """The item ids and the value of :meth:`best_sessions` for one user."""
        codes, values = self.best_sessions([user_id], m, time, width)
        return self.vocabulary.decode(codes[0]).to_list(), float(values[0])

    def _over_interests(self, state: State, taken: npt.NDArray[np.bool_]) -> Float:
        world = self._moments.world
        odds = interest_odds(world.preset.choice, state.taste)
        total = np.zeros(taken.shape)
        for topic in range(odds.shape[1]):
            pull = state.pull.copy()
            pull[:, topic] += world.preset.choice.interest
            given = world.choices.probabilities(pull, state.period, state.last, taken)
            total += odds[:, topic, None] * given
        return total


def _take(state: State, rows: Int) -> State:
    return State(
        state.pull[rows],
        state.last[rows],
        state.period[rows],
        state.opens[rows],
        state.taste[rows],
    )
