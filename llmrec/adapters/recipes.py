"""LoRA recipes: what is adapted in which family of base models, and why.

One YAML file each in ``adapters/``, shipped with the toolkit. A recipe fixes what depends on the
base model; what depends on the task (gate input and its width) is added when it is used.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from llmrec.adapters.config import Compose, GatedLoraConfig, GateScope
from llmrec.errors import ConfigError, nearest_name
from llmrec.resources import resource_dir
from llmrec.validation import Strict, validated
from llmrec.yaml_text import read_yaml


class LoraRecipe(Strict):
    """A recipe.

    Attributes:
        schema_version: Version of the file format, ``schema`` in the file.
        name: The file's name.
        model_types: Values of ``model_type`` in a base model's configuration that it is for.
        reason: Why these values.
        target_modules: See :class:`~llmrec.adapters.config.GatedLoraConfig`, as the rest.
        experts: Experts per layer.
        rank: Rank of an expert.
        alpha: Scale times rank.
        compose: Composition.
        gate_scope: Scope of a gate.
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    model_types: tuple[str, ...]
    reason: str = Field(min_length=1)
    target_modules: tuple[str, ...] = Field(min_length=1)
    experts: int
    rank: int
    alpha: float
    compose: Compose
    gate_scope: GateScope

    def config(self, **changes: Any) -> GatedLoraConfig:
        """Settings for gated LoRA.

        Args:
            changes: Values to add or to replace, for instance ``gate_dim``.

        Raises:
            ConfigError: A value is unknown or out of range.
        """
        about = {"schema_version", "name", "model_types", "reason"}
        values = {**self.model_dump(exclude=about), **changes}
        return validated(GatedLoraConfig, values, f"LoRA recipe {self.name}")


def lora_recipe_names() -> list[str]:
    """Names of the recipes that come with the toolkit."""
    return sorted(path.stem for path in resource_dir("adapters").glob("*.yaml"))


def lora_recipe(name: str | Path) -> LoraRecipe:
    """Read a recipe by its name, or from a YAML file.

    Raises:
        ConfigError: There is none, or the file is no recipe.

    >>> lora_recipe("llama").config(gate_dim=32).experts
    8
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = lora_recipe_names()
        if str(name) not in known:
            raise ConfigError(f"unknown LoRA recipe {str(name)!r}{nearest_name(str(name), known)}.")
        path = resource_dir("adapters") / f"{name}.yaml"
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"LoRA recipe {path} cannot be read: {error}.") from None
    return validated(LoraRecipe, content, str(path))


def lora_recipe_for(model_type: str) -> LoraRecipe:
    """The recipe for a base model by the ``model_type`` of its configuration.

    Raises:
        ConfigError: No recipe is for it.
    """
    recipes = [lora_recipe(name) for name in lora_recipe_names()]
    for recipe in recipes:
        if model_type in recipe.model_types:
            return recipe
    known = [kind for recipe in recipes for kind in recipe.model_types]
    raise ConfigError(
        f"no LoRA recipe is for model type {model_type!r}{nearest_name(model_type, known)}."
    )
