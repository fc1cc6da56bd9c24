r"""The true value of a session, a list of items shown one after the other to one user.

The user meets position r (from 0) with probability ``stay ** r`` and has then met every item before
it, so the boredom at r follows from the list alone and the expectation is exact:

    V = sum_r stay ** r * (E[dwell_r] / 60 + like_value * P(like_r))

Values are in minutes. Items that cannot be consumed (padding, repeats within the list, items taken
before, items not yet released) are worth nothing and do not bore; their position still counts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llmrec.data.simulator.choice import Bool
from llmrec.data.simulator.items import Float, Int
from llmrec.data.simulator.moments import Moments, Situation, Times
from llmrec.data.simulator.rewards import completion_probability, like_probability, value
from llmrec.errors import ConfigError, DataError

_MOST_PREFIXES = 2_000_000  # of an exact search
_CELLS = 4_000_000  # of the prefix-by-item table held at once


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Expected responses to ``n`` sessions of ``m`` positions.

    Attributes:
        dwell: ``[n, m]`` expected seconds if the position is reached.
        like: ``[n, m]`` probability of a like if the position is reached.
        reach: ``[m]`` probability that a position is reached.
        value: ``[n]`` expected value in minutes.
    """

    dwell: Float
    like: Float
    reach: Float
    value: Float


@dataclass(eq=False)
class _Beam:
    """Prefixes of one block of users: ``[n, width]`` and further axes."""

    codes: Int
    values: Float
    bored: Float
    free: Bool


class SessionValue:
    """Values given sessions and searches for the best.

    Args:
        moments: The users at any moment.
    """

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._items = moments.world.items
        self._reward = moments.world.preset.reward
        self._decay = moments.world.preset.choice.boredom_decay

    def outcomes(self, users: Int, sessions: npt.ArrayLike, times: Times) -> Outcomes:
        """Expected responses of user rows ``[n]`` to item codes ``[n, m]``."""
        codes = self._checked(users, sessions)
        here = self._moments.at_times(users, times)
        dwell, like = np.zeros(codes.shape), np.zeros(codes.shape)
        free = here.available.copy()
        bored = np.zeros_like(here.taste)
        rows = np.arange(users.size)
        for position in range(codes.shape[1]):
            item = np.maximum(codes[:, position] - 1, 0)
            counts = (codes[:, position] > 0) & free[rows, item]
            mixture = self._items.mixtures[self._items.profile[item]]
            match, fatigue = (here.taste * mixture).sum(axis=1), (bored * mixture).sum(axis=1)
            seconds, liked = self._response(item, match, fatigue)
            dwell[:, position], like[:, position] = seconds * counts, liked * counts
            free[rows[counts], item[counts]] = False
            bored = np.where(counts[:, None], self._decay * bored + mixture, bored)
        reach = np.power(self._reward.stay, np.arange(codes.shape[1]), dtype=np.float64)
        worth = np.asarray(value(self._reward, dwell, like) @ reach)
        return Outcomes(dwell, like, reach, worth)

    def best(self, users: Int, m: int, times: Times, width: int | None) -> tuple[Int, Float]:
        """Codes ``[n, m]`` and values ``[n]`` of the best sessions that a beam search finds."""
        kept = self._width(m, width)
        here = self._moments.at_times(users, times)
        if (too_few := here.available.sum(axis=1) < m).any():
            user = self._moments.users.ids[int(users[np.argmax(too_few)])]
            raise ConfigError(f"m={m}: user {user!r} has fewer items left to be shown.")
        block = max(_CELLS // (kept * len(self._items)), 1)
        parts = [
            self._search(
                Situation(here.taste[s : s + block], here.available[s : s + block]), m, kept
            )
            for s in range(0, users.size, block)
        ]
        codes = [np.empty((0, m), dtype=np.int64), *(codes for codes, _ in parts)]
        return np.concatenate(codes), np.concatenate([np.empty(0), *(v for _, v in parts)])

    def _search(self, here: Situation, m: int, width: int) -> tuple[Int, Float]:
        n, topics = here.taste.shape
        match = (here.taste @ self._items.mixtures.T)[:, None, self._items.profile]
        beam = _Beam(
            codes=np.empty((n, 1, 0), dtype=np.int64),
            values=np.zeros((n, 1)),
            bored=np.zeros((n, 1, topics)),
            free=here.available[:, None, :],
        )
        for position in range(m):
            beam = self._extend(beam, match, self._reward.stay**position, width)
        best = np.argmax(beam.values, axis=1)
        rows = np.arange(n)
        return beam.codes[rows, best], beam.values[rows, best]

    def _extend(self, beam: _Beam, match: Float, reach: float, width: int) -> _Beam:
        """Append every free item to every prefix and keep the ``width`` best."""
        fatigue = (beam.bored @ self._items.mixtures.T)[:, :, self._items.profile]
        gain = value(self._reward, *self._response(slice(None), match, fatigue))
        total = np.where(beam.free, beam.values[..., None] + reach * gain, -np.inf)
        n, _, n_items = total.shape
        flat = total.reshape(n, -1)
        kept = min(width, flat.shape[1])
        top = np.argpartition(-flat, kept - 1, axis=1)[:, :kept]
        prefix, item = np.divmod(top, n_items)
        rows = np.arange(n)[:, None]
        free = beam.free[rows, prefix]
        np.put_along_axis(free, item[..., None], False, axis=2)
        return _Beam(
            codes=np.concatenate([beam.codes[rows, prefix], item[..., None] + 1], axis=2),
            values=np.take_along_axis(flat, top, axis=1),
            bored=self._decay * beam.bored[rows, prefix]
            + self._items.mixtures[self._items.profile[item]],
            free=free,
        )

    def _response(self, item: Int | slice, match: Float, fatigue: Float) -> tuple[Float, Float]:
        """Expected seconds and probability of a like."""
        quality = self._items.quality[item]
        share = completion_probability(self._reward, match, quality, fatigue)
        like = like_probability(self._reward, match, quality, fatigue)
        return self._items.duration[item] * share, like

    def _checked(self, users: Int, sessions: npt.ArrayLike) -> Int:
        codes = np.asarray(sessions, dtype=np.int64)
        if codes.ndim != 2 or codes.shape[0] != users.size:
            raise DataError(
                f"{users.size} users need sessions [{users.size}, m], got shape {codes.shape}."
            )
        if codes.size and (codes.min() < 0 or codes.max() > len(self._items)):
            raise DataError(f"session item codes must lie between 0 and {len(self._items)}.")
        return codes

    def _width(self, m: int, width: int | None) -> int:
        if m < 1 or (width is not None and width < 1):
            raise ConfigError(f"a session needs m >= 1 and width >= 1, got m={m}, width={width}.")
        if width is not None:
            return width
        prefixes = int(len(self._items) ** m)
        if prefixes > _MOST_PREFIXES:
            raise ConfigError(
                f"an exact search over {len(self._items)} items and {m} positions has {prefixes:,} "
                f"lists, more than {_MOST_PREFIXES:,}; give a width."
            )
        return prefixes
