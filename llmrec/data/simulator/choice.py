r"""The choice model, in closed form.

The feed proposes items one after the other, item i with probability proportional to its exposure
propensity e_i, and the user takes a proposal with probability a * exp(U_i), never an item taken
before. The first proposal taken is the choice. By rejection sampling its distribution is

    P(i) = e_i exp(U_i) / sum_j e_j exp(U_j)      over the items not taken before,

whatever ``a`` is: a softmax over the catalog of log propensity plus utility, which is what
:meth:`ChoiceModel.probabilities` computes. The proposals passed over have, for small ``a``, the
distribution e alone; :mod:`llmrec.data.simulator.exposures` fills the slate around the choice with
them.

The utility is U_i = pull . mixture_i + quality_weight * quality_i + bonus [i continues the last
item], where ``pull`` gathers taste, interest, boredom and trend. Mixtures come from few profiles,
so the sum over the catalog falls into one sum per profile and period, known beforehand, and
:meth:`ChoiceModel.draw` samples a profile and then an item within it without ever touching the
catalog. Items taken before are refused and drawn again, which leaves the distribution exact.
"""

import numpy as np
import numpy.typing as npt

from llmrec.data.simulator.items import Float, Int, Items
from llmrec.data.simulator.presets import Preset

Bool = npt.NDArray[np.bool_]
_ROUNDS = 32  # of refused draws before the few users left are sampled from the whole catalog
_FRESH_PERIODS = 3.0  # after which the bonus of a new item has fallen to a third


class ChoiceModel:
    """Samples choices and gives their exact probabilities.

    Args:
        preset: The settings.
        items: The items.
    """

    def __init__(self, preset: Preset, items: Items) -> None:
        self.items = items
        self.log_exposure = _log_exposure(preset, items)
        self.log_weight = self.log_exposure + preset.choice.quality * items.quality
        self._bonus = preset.choice.series
        self._order = np.argsort(items.profile, kind="stable")
        counts = np.bincount(items.profile, minlength=items.mixtures.shape[0])
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        weight = np.exp(self.log_weight)
        self._weight = weight
        edges = np.zeros((weight.shape[0], len(items) + 1))
        np.cumsum(weight[:, self._order], axis=1, out=edges[:, 1:])
        self._mass = edges[:, self._ends] - edges[:, self._starts]
        # One ascending array for all periods, so that one search serves users of any period.
        self._cumulative = np.cumsum(weight[:, self._order].ravel())

    def draw(
        self, rng: np.random.Generator, pull: Float, period: Int, last: Int, taken: Int
    ) -> Int:
        """Sample one choice per user: ``[n]`` item rows.

        Args:
            rng: Random numbers.
            pull: ``[n, topics]``.
            period: ``[n]`` calendar period.
            last: ``[n]`` row of the last item in the session, or -1.
            taken: ``[n, any]`` rows of the items taken before, -1 where there is none.
        """
        profile_edges, bonus = self._profile_edges(pull, period, last)
        chosen = np.full(period.size, -1, dtype=np.int64)
        left = np.arange(period.size)
        for _ in range(_ROUNDS):
            if not left.size:
                return chosen
            drawn = self._propose(rng, profile_edges[left], bonus[left], period[left], last[left])
            good = (taken[left] != drawn[:, None]).all(axis=1)
            good &= self._weight[period[left], drawn] > 0  # a rounding error at an edge
            chosen[left[good]] = drawn[good]
            left = left[~good]
        if left.size:
            chosen[left] = self._draw_exactly(
                rng, pull[left], period[left], last[left], taken[left]
            )
        return chosen

    def probabilities(self, pull: Float, period: Int, last: Int, taken: Bool) -> Float:
        """Exact distribution of the choice: ``[n, items]``, rows sum to one.

        Args:
            pull: ``[n, topics]``.
            period: ``[n]`` calendar period.
            last: ``[n]`` row of the last item in the session, or -1.
            taken: ``[n, items]`` whether the user has taken the item before.
        """
        logits = (pull @ self.items.mixtures.T)[:, self.items.profile] + self.log_weight[period]
        following = self._following(last)
        rows = np.flatnonzero(following >= 0)
        logits[rows, following[rows]] += self._bonus
        logits[taken] = -np.inf
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _profile_edges(self, pull: Float, period: Int, last: Int) -> tuple[Float, Float]:
        """Running sums ``[n, profiles]`` of the profiles' weights, and the bonus weight ``[n]``."""
        match = pull @ self.items.mixtures.T
        following = np.maximum(self._following(last), 0)
        match -= match.max(axis=1, keepdims=True)
        attraction = np.exp(match, out=match)
        rows = np.arange(period.size)
        bonus = attraction[rows, self.items.profile[following]] * self._weight[period, following]
        bonus *= np.expm1(self._bonus) * (self._following(last) >= 0)
        return np.cumsum(attraction * self._mass[period], axis=1), bonus

    def _propose(
        self, rng: np.random.Generator, edges: Float, bonus: Float, period: Int, last: Int
    ) -> Int:
        total = edges[:, -1]
        point = rng.random(period.size) * (total + bonus)
        profile = (edges <= point[:, None]).sum(axis=1)
        goes_on = point >= total
        profile[goes_on] = 0  # any: replaced below
        within = rng.random(period.size)
        start = period * len(self.items) + self._starts[profile]
        below = np.where(start > 0, self._cumulative[start - 1], 0.0)
        place = np.searchsorted(
            self._cumulative, below + within * self._mass[period, profile], side="right"
        )
        last_place = period * len(self.items) + self._ends[profile] - 1
        place = np.clip(place, start, last_place) - period * len(self.items)
        return np.where(goes_on, self._following(last), self._order[place])

    def _draw_exactly(
        self, rng: np.random.Generator, pull: Float, period: Int, last: Int, taken: Int
    ) -> Int:
        mask = np.zeros((period.size, len(self.items) + 1), dtype=bool)
        mask[np.arange(period.size)[:, None], taken] = True  # -1 marks the extra column
        edges = np.cumsum(self.probabilities(pull, period, last, mask[:, :-1]), axis=1)
        point = rng.random(period.size) * edges[:, -1]
        return np.asarray((edges <= point[:, None]).sum(axis=1), dtype=np.int64)

    def _following(self, last: Int) -> Int:
        return np.where(last >= 0, self.items.following[last], -1)


def _log_exposure(preset: Preset, items: Items) -> Float:
    """``[periods, items]`` log exposure propensity; -inf before the release."""
    age = np.arange(preset.sessions.periods)[:, None] - items.release
    is_new = (items.release > 0) & (age >= 0)
    fresh = preset.items.freshness * np.exp(-np.maximum(age, 0) / _FRESH_PERIODS) * is_new
    return np.where(age >= 0, items.popularity + fresh, -np.inf)
