"""YAML in which nothing is lost without a word."""

import pytest
import yaml

from llmrec.yaml_text import read_yaml


@pytest.mark.parametrize(
    "text", ["a: 1\nb: {c: [1, {d: x}]}\n", "x: &one {a: 1}\ny: {<<: *one, b: 2}\n", "[1, 2]", ""]
)
def test_what_is_unambiguous_is_read_as_ever(text):
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "x:\n  b: 1\n  c: 2\n  b: 3\n", "- {k: 1, k: 1}"])
def test_a_repeated_key_is_refused_by_name(text):
    with pytest.raises(yaml.YAMLError, match=r"key '[abk]' stands twice"):
        read_yaml(text)


def test_objects_are_refused():
    with pytest.raises(yaml.YAMLError):
        read_yaml("!!python/object/apply:os.getcwd []")
