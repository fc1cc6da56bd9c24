import doctest

import pytest
from pydantic import ValidationError

from llmrec.data.simulator import PRESETS, preset, simulate, simulation
from llmrec.data.simulator.words import TOPICS
from llmrec.errors import ConfigError


def test_the_frozen_presets_are_there_with_versions():
    assert set(PRESETS) == {
        "simulate:tiny@1",
        "simulate:small@1",
        "simulate:long-taste@2",
        "simulate:large@1",
    }
    assert all(settings.name == name for name, settings in PRESETS.items())


def test_unknown_name_suggests_the_closest():
    with pytest.raises(ConfigError, match=r"'simulate:smal@1'; did you mean 'simulate:small@1'"):
        simulate("simulate:smal@1")


def test_presets_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        preset("simulate:tiny@1").users = 3


def test_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="itmes"):
        preset("simulate:tiny@1").items.__class__(itmes=3, items=80, topics=6)


@pytest.mark.parametrize(
    ("group", "update", "message"),
    [
        ("items", {"items": 70}, "70 items are too few for 36 events"),
        ("items", {"topics": 99}, "items.topics"),
        ("sessions", {"shortest": 9}, "shortest <= longest"),
        ("sessions", {"cycles": 30}, "1501 events a user are more than 1000"),
        ("reward", {"stay": 1.5}, "reward.stay"),
    ],
)
def test_settings_of_ones_own_are_checked(group, update, message):
    tiny = preset("simulate:tiny@1")
    changed = {group: getattr(tiny, group).model_copy(update=update)}
    if "cycles" in update:
        changed["items"] = tiny.items.model_copy(update={"items": 4_000})
    with pytest.raises(ConfigError, match=message):
        simulate(tiny.model_copy(update=changed))


def test_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed=-1"):
        simulate("simulate:tiny@1", seed=-1)


def test_a_preset_too_large_for_memory_names_the_writer():
    with pytest.raises(ConfigError, match="write_large"):
        simulate("simulate:large@1")


def test_names_tell_custom_settings_and_other_seeds_apart():
    tiny = preset("simulate:tiny@1")
    fewer = tiny.model_copy(update={"users": 20})
    assert simulate(tiny).dataset.name == "simulate:tiny@1"
    assert simulate(tiny, seed=4).dataset.name == "simulate:tiny@1+seed4"
    assert simulate(fewer).dataset.name == "simulate:tiny@1+custom"


@pytest.mark.parametrize("kind", ["adjectives", "nouns", "themes"])
def test_topics_share_no_words(kind):
    words = [word for topic in TOPICS for word in getattr(topic, kind)]
    assert len(words) == len(set(words)) == 12 * len(TOPICS)


def test_every_topic_has_four_forms():
    assert {len(topic.forms) for topic in TOPICS} == {4}


def test_the_example_runs():
    assert doctest.testmod(simulation) == (0, 1)
