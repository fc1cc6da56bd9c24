"""Recipes: what is accepted, where each value came from, and every way to get one wrong."""

import pytest

from llmrec.errors import ConfigError
from llmrec.runs.recipe import flatten, load_recipe, load_values, parse_recipe

GOOD = {
    "name": "try",
    "task": "some-task",
    "model": {"name": "sasrec", "dim": 16},
    "training": {"epochs": 3},
}


def changed(**values):
    return {**GOOD, **values}


def test_values_and_their_origins():
    recipe = parse_recipe(GOOD, ["training.batch_size=64", "model.heads=1", "seeds=[4, 5]"])
    assert recipe.model.name == "sasrec"
    assert recipe.model.settings["dim"] == 16
    assert recipe.model.settings["heads"] == 1
    assert recipe.model.settings["blocks"] == 2  # SASRec's own default
    assert recipe.training["epochs"] == 3
    assert recipe.training["batch_size"] == 64
    assert recipe.seeds == (4, 5)
    origins = recipe.origins
    assert origins["name"] == origins["model.dim"] == origins["training.epochs"] == "recipe"
    assert (
        origins["training.batch_size"] == origins["model.heads"] == origins["seeds"] == "override"
    )
    assert (
        origins["model.blocks"] == origins["training.patience"] == origins["threads"] == "default"
    )


def test_every_value_has_an_origin():
    recipe = parse_recipe(GOOD)
    assert recipe.origins.keys() == flatten(recipe.as_dict()).keys()


def test_a_written_out_recipe_reads_back_as_itself():
    recipe = parse_recipe(GOOD, ["model.dropout=0.5"])
    assert parse_recipe(recipe.as_dict()).as_dict() == recipe.as_dict()


def test_a_recipe_is_not_changed_by_overrides_of_another():
    parse_recipe(GOOD, ["model.dim=32"])
    assert parse_recipe(GOOD).model.settings["dim"] == 16


def test_load_names_the_file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\ntask: t\nmodel: {name: popularity}\ntrainig: {epochs: 1}\n")
    with pytest.raises(
        ConfigError, match=r"x\.yaml: unknown key 'trainig'; did you mean 'training'"
    ):
        load_recipe(path)


@pytest.mark.parametrize(
    ("values", "overrides", "sentence"),
    [
        (changed(modle={}), [], r"unknown key 'modle'; did you mean 'model'"),
        (
            changed(model={"name": "sasrec", "dims": 3}),
            [],
            r"model: unknown key 'dims'; did you mean 'dim'",
        ),
        (
            changed(training={"epoch": 3}),
            [],
            r"training: unknown key 'epoch'; did you mean 'epochs'",
        ),
        (changed(training={"epochs": 0}), [], r"training: epochs is 0: .*greater than"),
        (changed(training={"seed": 0}), [], r"use 'seeds'"),
        (changed(training=3), [], r"training is 3, but it must be a section"),
        (changed(model={"name": "sasrec", "training": {}}), [], r"'training' beside 'model'"),
        (changed(model={"name": "sasrek"}), [], r"did you mean 'sasrec'"),
        (changed(model={"dim": 3}), [], r"key 'model\.name' is missing"),
        (changed(model={"name": "sasrec", "heads": 3, "dim": 8}), [], r"heads=3 must divide dim=8"),
        (changed(model={"name": "popularity"}), [], r"'popularity' has no training loop"),
        (changed(seeds=[]), [], r"seeds is \[\]: "),
        (changed(seeds=[-1]), [], r"seeds\.0 is -1: "),
        (changed(threads=0), [], r"threads is 0: "),
        (changed(name="../up"), [], r"name is '\.\./up': "),
        (changed(schema=9), [], r"schema is 9: "),
        (
            GOOD,
            ["training.batchsize=3"],
            r"training: unknown key 'batchsize'; did you mean 'batch_size'",
        ),
        (GOOD, ["training.epochs"], r"not of the form name=value"),
        (GOOD, ["training..epochs=1"], r"not of the form name=value"),
        (GOOD, ["name.first=1"], r"'name' is a value, not a section"),
        (GOOD, ["seeds=[1"], r"override 'seeds=\[1'"),
    ],
)
def test_mistakes_get_one_sentence(values, overrides, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse_recipe(values, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "not valid YAML"),
        ("just words", "must be a mapping"),
        ("", "must be a mapping"),
        ("name: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_files_that_are_not_recipes(tmp_path, text, sentence):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        load_recipe(path)


def test_missing_file():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_recipe("nowhere.yaml")


# ---- recipes of other things ----


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("k: 10\ndetector: {hidden: 16}\n", encoding="utf-8")
    return path


def test_plain_values_with_overrides(plain):
    found = load_values(plain, ["detector.layers=2", "k=5"], {"k", "detector"})
    assert found == {"k": 5, "detector": {"hidden": 16, "layers": 2}}


@pytest.mark.parametrize(
    ("overrides", "keys", "sentence"),
    [
        ([], {"k"}, r"unknown \['detector'\], missing \[\]"),
        ([], {"k", "detector", "seed"}, r"unknown \[\], missing \['seed'\]"),
        (["colour=red"], {"k", "detector"}, r"unknown \['colour'\]"),
        (["nonsense"], {"k", "detector"}, "not of the form name=value"),
        (["k.least=1"], {"k", "detector"}, "'k' is a value, not a section"),
    ],
)
def test_plain_values_are_those_of_the_keys(plain, overrides, keys, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_values(plain, overrides, keys)


def test_a_plain_recipe_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_values(tmp_path / "nothing.yaml", [], {"k"})
    (tmp_path / "list.yaml").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a mapping with the keys k, seed"):
        load_values(tmp_path / "list.yaml", [], {"seed", "k"})
