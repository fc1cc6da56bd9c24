"""Plain values as models: numbers are numbers."""

from typing import Literal

import pytest
from pydantic import BaseModel

from llmrec.errors import ConfigError
from llmrec.validation import Strict, validated


class Inner(Strict):
    width: int | None = None


class Given(BaseModel):
    steps: int = 1
    share: float | None = None
    seeds: tuple[int, ...] = ()
    told: bool = False
    either: bool | float = False
    choice: Literal[1, 2] = 1
    name: str = ""
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"steps": True}, "steps"),
        ({"share": False}, "share"),
        ({"seeds": [1, True]}, "seeds"),
        ({"choice": True}, "choice"),
        ({"inner": {"width": True}}, "inner.width"),
    ],
)
def test_true_and_false_are_no_numbers(values, where):
    with pytest.raises(ConfigError, match=f"^x: {where} is true or false, but it must be a numb"):
        validated(Given, values, "x")


def test_true_and_false_stay_where_they_belong():
    values = {"told": True, "either": True, "steps": 2, "share": None, "inner": {"width": None}}
    found = validated(Given, values, "x")
    assert (found.told, found.either, found.steps) == (True, True, 2)
    with pytest.raises(ConfigError, match="name is True"):
        validated(Given, {"name": True}, "x")
