"""How users respond to an item they have: how much of it they consume, and whether they like it.

Both have log odds that are linear in taste match, quality and boredom. The completed share is beta
distributed around its probability, so its expectation, and with it the expected dwell, is exact.
"""

import numpy as np

from llmrec.data.simulator.items import Float
from llmrec.data.simulator.presets import RewardSettings

CONSUMED = 0.5  # completed share from which an event is a "consume" and not only a "click"


def completion_probability(
    reward: RewardSettings, match: Float, quality: Float, bored: Float
) -> Float:
    """Expected completed share, between 0 and 1.

    Args:
        reward: The settings.
        match: Taste times mixture, any shape.
        quality: Quality of the items.
        bored: Boredom times mixture.
    """
    return _sigmoid(reward.completion + _response(reward, match, quality, bored))


def like_probability(reward: RewardSettings, match: Float, quality: Float, bored: Float) -> Float:
    """Probability of a like; arguments as in :func:`completion_probability`."""
    return _sigmoid(reward.like + _response(reward, match, quality, bored))


def draw_completion(rng: np.random.Generator, reward: RewardSettings, probability: Float) -> Float:
    """Draw completed shares with expectation ``probability``."""
    bounded = np.clip(probability, 1e-3, 1 - 1e-3)
    return rng.beta(reward.concentration * bounded, reward.concentration * (1 - bounded))


def value(reward: RewardSettings, dwell: Float, like: Float) -> Float:
    """Worth of a response in minutes: dwell in seconds, like as a probability or 0 and 1."""
    return dwell / 60.0 + reward.like_value * like


def _response(reward: RewardSettings, match: Float, quality: Float, bored: Float) -> Float:
    return reward.taste * match + reward.quality * quality - reward.boredom * bored


def _sigmoid(x: Float) -> Float:
    return 1.0 / (1.0 + np.exp(-x))
