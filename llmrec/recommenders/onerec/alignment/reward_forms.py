"""Reward models by the form that their settings name."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from llmrec.recommenders.onerec.alignment.config import RewardConfig
from llmrec.recommenders.onerec.alignment.item_reward import ItemReward
from llmrec.recommenders.onerec.alignment.list_reward import ListReward
from llmrec.recommenders.onerec.alignment.reward import RewardModel


def make_reward_model(
    config: RewardConfig, n_items: int, base_rates: Sequence[float], contents: Tensor | None = None
) -> RewardModel:
    """An untrained reward model.

    Args:
        config: Form, architecture and aggregation.
        n_items: Items of the catalogue.
        base_rates: Mean label per tower.
        contents: Of the form ``items``, their content vectors, row 0 for padding.
    """
    if config.form == "lists":
        return ListReward(config, n_items, base_rates)
    return ItemReward(config, n_items, base_rates, contents)


def loaded_reward_model(config: RewardConfig, state: Mapping[str, Tensor]) -> RewardModel:
    """A reward model with the weights of a saved one, in evaluation mode."""
    items, rates = len(state["items.weight"]) - 1, state["base_rates"].tolist()
    model = make_reward_model(config, items, rates)
    model.load_state_dict(dict(state))
    return model.eval()
