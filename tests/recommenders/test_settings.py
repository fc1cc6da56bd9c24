import pytest
from pydantic import BaseModel, ConfigDict, Field

from llmrec.errors import ConfigError
from llmrec.recommenders.settings import settings_from


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(0.1, gt=0)


class Toy(BaseModel):
    width: int = Field(8, ge=1)
    inner: Inner = Inner()


def test_options_become_settings():
    assert settings_from("toy", Toy, {"width": 3}) == Toy(width=3)
    assert settings_from("toy", Toy, {}) == Toy()


def test_an_unknown_option_suggests_the_closest():
    with pytest.raises(ConfigError, match="toy: unknown option 'widht'; did you mean 'width'"):
        settings_from("toy", Toy, {"widht": 3})


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"width": 0}, "toy: width is 0: "),
        ({"inner": {"rate": 0}}, r"toy: inner\.rate is 0: "),
        ({"inner": {"rat": 0}}, r"toy: unknown key 'inner\.rat'; did you mean 'rate'\?$"),
        ({"inner": 3}, "toy: inner is 3, but it must be a section of keys and values"),
    ],
)
def test_a_value_out_of_range_names_its_place(options, place):
    with pytest.raises(ConfigError, match=place):
        settings_from("toy", Toy, options)
