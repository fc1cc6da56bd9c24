"""From keyword arguments to a recommender's settings, with one sentence about what is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from llmrec.errors import ConfigError, nearest_name
from llmrec.validation import validated

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def settings_from(name: str, config_class: type[ConfigT], options: Mapping[str, Any]) -> ConfigT:
    """Settings of a class.

    Args:
        name: Of the recommender, for messages.
        config_class: The settings' class.
        options: Fields of it.

    Raises:
        ConfigError: An option is unknown (the closest name is suggested) or out of range.
    """
    fields = config_class.model_fields
    for key in options:
        if key not in fields:
            raise ConfigError(f"{name}: unknown option {key!r}{nearest_name(key, fields)}.")
    return validated(config_class, options, name)
