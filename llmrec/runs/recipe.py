"""How a model is to be trained and judged, written as YAML.

A recipe names a task, a model with its settings, the training settings and the seeds. Dotted
overrides (``training.batch_size=64``) change single values, and every value remembers whether it
is a default, from the recipe or from an override. Values are checked against the config classes
of the model itself, so a recipe that loads can be trained. Nothing here reads data.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from llmrec.errors import ConfigError
from llmrec.validation import validated
from llmrec.yaml_text import read_yaml

if TYPE_CHECKING:
    from llmrec.recommenders.base import BaseRecommender

ValueOrigin = Literal["default", "recipe", "override"]


class ModelSection(BaseModel):
    """Which model, and its settings.

    Attributes:
        name: A name of ``llmrec.recommenders.registry``; every other key belongs to the model's
            own config class.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """The keys beside ``name``, as written."""
        return dict(self.model_extra or {})


class Recipe(BaseModel):
    """A recipe whose values are known to be valid.

    Attributes:
        schema_version: Version of this file format, ``schema`` in YAML.
        name: The name under which results are stored.
        description: One sentence about what the recipe is for.
        task: Name of a task in ``eval/tasks`` or the path of a task file.
        model: The model and its settings.
        training: Settings of the training loop, for models that have one.
        seeds: One training per seed.
        threads: CPU threads; None leaves the choice to the libraries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(min_length=1, pattern=r"^[\w][\w.-]*$")
    description: str = ""
    task: str = Field(min_length=1)
    model: ModelSection
    training: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(1,), min_length=1)
    threads: int | None = Field(default=None, ge=1)

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds {list(seeds)} name one twice; each is one training")
        return seeds

    _source: str = PrivateAttr(default="")
    _origins: dict[str, ValueOrigin] = PrivateAttr(default_factory=dict)

    @property
    def source(self) -> str:
        """The file the recipe came from, or what it was called when it was made."""
        return self._source

    @property
    def origins(self) -> dict[str, ValueOrigin]:
        """Dotted name of every value to where it came from."""
        return dict(self._origins)

    def make_model(self, seed: int, checkpoints: Path, resume: bool) -> "BaseRecommender[Any]":
        """The untrained model.

        Args:
            seed: The seed of this training.
            checkpoints: Where a model with a training loop keeps its checkpoints.
            resume: Whether such a model continues from the newest of them.
        """
        from llmrec.recommenders.registry import model_class

        cls = model_class(self.model.name)
        settings = self.model.settings
        if "training" not in cls.config_class.model_fields:
            return cls(**settings)
        settings["training"] = {**self.training, "seed": seed}
        return cls(**settings, checkpoints=checkpoints, resume=resume)

    def as_dict(self) -> dict[str, Any]:
        """The recipe with every default written out, ready for YAML."""
        return self.model_dump(mode="json", by_alias=True)


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and check every value.

    Args:
        path: A YAML file.
        overrides: ``dotted.name=value`` with the value in YAML.

    Raises:
        ConfigError: The file is missing or not YAML, or a key or a value is not valid; one
            sentence says which.
    """
    values = _read_mapping(Path(path), "the keys name, task and model")
    return parse_recipe(values, overrides, str(path))


def load_values(
    path: str | Path, overrides: Iterable[str], keys: Collection[str]
) -> dict[str, Any]:
    """Read a recipe of other things than recommenders: plain values under exactly these keys.

    Args:
        path: A YAML file.
        overrides: ``dotted.name=value`` with the value in YAML.
        keys: Those of the recipe, no more and no fewer.

    Raises:
        ConfigError: The file is missing or not YAML, or a key is unknown or missing.
    """
    values = _read_mapping(Path(path), f"the keys {', '.join(sorted(keys))}")
    for override in overrides:
        _apply_override(values, override)
    unknown, missing = sorted(values.keys() - set(keys)), sorted(set(keys) - values.keys())
    if unknown or missing:
        raise ConfigError(f"recipe {path}: unknown {unknown}, missing {missing}.")
    return values


def _read_mapping(path: Path, wanted: str) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not valid YAML: {_one_line(error)}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {path} must be a mapping with {wanted}.")
    return values


def parse_recipe(
    values: Mapping[str, Any], overrides: Iterable[str] = (), source: str = "recipe"
) -> Recipe:
    """Check the values of a recipe; see :func:`load_recipe`."""
    written = _plain_copy(values)
    changed = [_apply_override(written, override) for override in overrides]
    where = f"recipe {source}" if source != "recipe" else source
    full = _with_checked_sections(validated(Recipe, written, where), where)
    full._source = source
    full._origins = {
        name: _origin_of(name, written, changed) for name in flatten(full.as_dict()) if name
    }
    return full


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into dotted names; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _with_checked_sections(recipe: Recipe, where: str) -> Recipe:
    """Check the model and training sections against the model's own classes, filling defaults."""
    from llmrec.recommenders.registry import model_class

    try:
        config_class = model_class(recipe.model.name).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    field = config_class.model_fields.get("training")
    _require_sections_in_place(recipe, field is not None, where)
    settings: dict[str, Any] = recipe.model.settings
    training: dict[str, Any] = {}
    if field is not None and isinstance(field.annotation, type):
        section: type[BaseModel] = field.annotation
        checked = validated(section, recipe.training, f"{where}, training")
        training = checked.model_dump(mode="json")
        settings["training"] = training
    config = validated(config_class, settings, f"{where}, model").model_dump(mode="json")
    config.pop("training", None)
    training = {key: value for key, value in training.items() if key != "seed"}
    model = ModelSection(name=recipe.model.name, **config)
    return recipe.model_copy(update={"model": model, "training": training})


def _require_sections_in_place(recipe: Recipe, has_training: bool, where: str) -> None:
    if recipe.training and not has_training:
        raise ConfigError(
            f"{where}: model {recipe.model.name!r} has no training loop; remove 'training'."
        )
    if "training" in recipe.model.settings:
        raise ConfigError(f"{where}: put 'training' beside 'model', not into it.")
    if "seed" in recipe.training:
        raise ConfigError(f"{where}: use 'seeds' beside 'model' instead of 'training.seed'.")


def _apply_override(values: dict[str, Any], override: str) -> str:
    """Set one value in place and return its dotted name."""
    name, separator, text = override.partition("=")
    parts = name.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(
            f"override {override!r} is not of the form name=value, for instance "
            "training.batch_size=64."
        )
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {_one_line(error)}.") from None
    section = values
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"override {override!r}: {part!r} is a value, not a section.")
    section[parts[-1]] = value
    return ".".join(parts)


def _origin_of(name: str, written: Mapping[str, Any], changed: list[str]) -> ValueOrigin:
    if any(name == other or name.startswith(f"{other}.") for other in changed):
        return "override"
    value: Any = written
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return "default"
        value = value[part]
    return "recipe"


def _plain_copy(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _plain_copy(value) for key, value in values.items()}
    return values


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
