"""What an alignment would only find out at its end, seen before anything is trained."""

from llmrec.data.splits import Split
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError
from llmrec.evaluation.monitoring import require_ranking_metric
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.recommenders.onerec.alignment.feedback import event_values
from llmrec.recommenders.onerec.alignment.reward import RewardModel


def require_lists(longest: int) -> None:
    """Refuse a model that has no lists to compare.

    Args:
        longest: Most items that it writes.

    Raises:
        ConfigError: It writes single items only.
    """
    if longest < 2:
        raise ConfigError(
            "alignment judges lists, but this model writes single items: train it with a "
            "session of 2 or more (generator.session of onerec)."
        )


def require_judge_of(longest_judged: int, longest: int) -> None:
    """Refuse a reward model of shorter lists than those it is to judge.

    Raises:
        ConfigError: It is.
    """
    if longest_judged < longest:
        raise ConfigError(
            f"the reward model judges lists of {longest_judged} items at most, but this "
            f"model writes {longest}; train it with reward.most={longest} or more."
        )


def require_reward_model(reward: RewardModel, vocabulary: Vocabulary, longest: int) -> None:
    """Refuse a reward model that cannot judge what a generator writes.

    Args:
        reward: The reward model.
        vocabulary: Items of the generator.
        longest: Most items that it writes.

    Raises:
        ConfigError: It was trained on other items, or judges shorter lists.
    """
    if reward.n_items != len(vocabulary):
        raise ConfigError(
            f"the reward model knows {reward.n_items} items and this model {len(vocabulary)}; "
            "train it on the same training part."
        )
    known, own = reward.config.vocabulary, vocabulary.fingerprint
    if known is not None and known != own:
        raise ConfigError(
            f"the reward model was trained on other items (fingerprint {known[:12]}) than this "
            f"model ({own[:12]}), though on as many; train it on the same training part."
        )
    require_judge_of(reward.config.session, longest)


def require_settings(config: AlignmentConfig, longest: int) -> None:
    """Refuse settings that do not fit the model that is aligned.

    Args:
        config: The settings.
        longest: Most items that the model writes.

    Raises:
        ConfigError: The model writes single items, the metric is none, or lists are to be composed
            of fewer items than they hold.
    """
    require_lists(longest)
    require_ranking_metric(config.training.metric, "alignment.training.metric")
    if 0 < config.compose_from < longest:
        raise ConfigError(
            f"alignment.compose_from={config.compose_from} next items are too few for a list of "
            f"{longest}, so none would ever be put together; set {longest} or more, or 0 for none."
        )


def require_alignable(config: AlignmentConfig, longest: int, split: Split) -> None:
    """Refuse settings that cannot work on a data set.

    Args:
        config: The settings.
        longest: Most items that the model to align writes.
        split: Its training part is what rewards are learnt from.

    Raises:
        ConfigError: The settings do not fit the model, or shorter lists are judged than it writes.
        DataError: A column that a tower learns from is missing, or holds no numbers.
    """
    require_settings(config, longest)
    require_judge_of(config.reward.most, longest)
    for tower in config.reward.towers:
        event_values(split, tower.column)
