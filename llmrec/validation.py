"""Pydantic models with ``extra="forbid"``, and their complaints as sentences."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from llmrec.errors import ConfigError, LlmrecError, nearest_name

Model = TypeVar("Model", bound=BaseModel)
_SECTIONS = ("model_type", "model_attributes_type", "dict_type", "mapping_type")


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validated(
    model: type[Model],
    data: Any,
    source: str,
    error: type[LlmrecError] = ConfigError,
) -> Model:
    """Make a model from plain values.

    Args:
        model: The pydantic model.
        data: Keys and values, as read from YAML or JSON.
        source: What the values are called in messages, for instance a file name.
        error: The class of the error.

    Raises:
        LlmrecError: A key is unknown or missing, or a value has the wrong form; the first problem
            is told, with the nearest valid name for an unknown key.
    """
    if not isinstance(data, Mapping):
        raise error(f"{source} must hold keys and values, found {type(data).__name__}.")
    if where := _boolean_for_a_number(model, data):
        raise error(f"{source}: {where} is true or false, but it must be a number.")
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise error(f"{source}: {_sentence(model, problem)}") from None


def _boolean_for_a_number(model: type[BaseModel], data: Mapping[Any, Any]) -> str:
    """The dotted name of a boolean where a number belongs, which pydantic takes for 1 or 0."""
    named = {field.alias or name: field for name, field in model.model_fields.items()}
    for key, value in data.items():
        kinds = _kinds(named[key].annotation) if key in named else set()
        inside = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if isinstance(value, Mapping) and len(inside) == 1:
            if deeper := _boolean_for_a_number(inside[0], value):
                return f"{key}.{deeper}"
        elif kinds & {int, float} and bool not in kinds:
            values = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(each, bool) for each in values):
                return str(key)
    return ""


def _kinds(annotation: Any) -> set[Any]:
    """What an annotation is put together of: the members of unions, tuples and literals."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    parts = get_args(annotation)
    return {annotation}.union(*map(_kinds, parts)) if parts else {annotation}


def _sentence(model: type[BaseModel], problem: ValidationError) -> str:
    # A misspelt key is also a missing one; the misspelling is the more helpful of the two.
    errors = sorted(problem.errors(), key=lambda error: error["type"] != "extra_forbidden")
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        near = nearest_name(str(first["loc"][-1]), known) if known else ""
        return f"unknown key {where!r}{near}."
    if first["type"] == "missing":
        return f"key {where!r} is missing."
    if first["type"] == "value_error":  # raised by our own validators: already a sentence
        return f"{str(first['ctx']['error']).removesuffix('.')}."
    if first["type"] in _SECTIONS:
        return f"{where} is {first['input']!r}, but it must be a section of keys and values."
    return f"{where} is {first['input']!r}: {first['msg']}."


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the model at a path of plain nested models, empty if it leads elsewhere."""
    for part in path:
        named = {field.alias or name: field for name, field in model.model_fields.items()}
        inner = named[str(part)].annotation if str(part) in named else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]
