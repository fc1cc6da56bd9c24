"""What the scripts of this folder share: recipes, the data folder, splits without a test part."""

import os
from pathlib import Path
from typing import Any

import yaml

from llmrec.errors import ConfigError
from llmrec.signatures.splits import GroupSplit


def load_recipe(path: Path, overrides: list[str], known: set[str]) -> dict[str, Any]:
    """A recipe's values with dotted overrides.

    Raises:
        ConfigError: The file is missing, or keys are unknown or missing.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is missing.")
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"{override!r} changes nothing; write name=value.")
        *outer, last = name.split(".")
        place = recipe
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = yaml.safe_load(value)
    unknown, missing = sorted(recipe.keys() - known), sorted(known - recipe.keys())
    if unknown or missing:
        raise ConfigError(f"{path}: unknown {unknown}, missing {missing}.")
    return recipe


def data_home() -> Path:
    """The data folder.

    Raises:
        ConfigError: ``LLMREC_DATA_HOME`` is not set.
    """
    home = os.environ.get("LLMREC_DATA_HOME")
    if not home:
        raise ConfigError("set LLMREC_DATA_HOME to the data folder.")
    return Path(home)


def without_test(split: GroupSplit) -> GroupSplit:
    """The split with its calibration part for a test part; the test groups go nowhere."""
    renamed = {"test": "unseen", "calibrate": "test"}
    return GroupSplit({group: renamed.get(part, part) for group, part in split.parts.items()})


def limit_threads(threads: int) -> None:
    """So many threads for this process: many small matrices gain nothing from more."""
    import torch

    torch.set_num_threads(threads)
