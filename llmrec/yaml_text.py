"""YAML as people write it, read without surprises: a key that stands twice is refused."""

from collections.abc import Hashable
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class _OnceLoader(yaml.SafeLoader):
    """A safe loader for which a repeated key is a mistake, and not the last one right."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found = []
        for given, _ in node.value:
            if given.tag == _MERGE:
                continue
            key = self.construct_object(given, deep=True)
            if key in found:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice", given.start_mark
                )
            found.append(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """Plain values from YAML.

    Raises:
        yaml.YAMLError: It is not YAML, or a key stands twice in one mapping.
    """
    return yaml.load(text, _OnceLoader)
