"""Settings given on the command line: ``name=value`` and ``section.name=value``, values in YAML."""

from collections.abc import Sequence
from typing import Any

from llmrec.errors import ConfigError


def top_level_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` words.

    Raises:
        ConfigError: One has another form, or its value is no YAML.
    """
    return dict(_setting(text) for text in texts)


def nested_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``section.name=value`` words into mappings of mappings.

    Raises:
        ConfigError: As for :func:`top_level_settings`, or a name is a value and a section at once.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, value = _setting(text)
        *sections, last = name.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"setting {text!r}: {section!r} is a value, not a section.")
        inner[last] = value
    return found


def _setting(text: str) -> tuple[str, Any]:
    import yaml

    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"setting {text!r} is not of the form name=value, for instance layers=6.")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"setting {text!r}: the value is no valid YAML.") from None
