"""Settings: the published ones, and which of two wins."""

import pytest

from llmrec.errors import ConfigError
from llmrec.recommenders.sra_cl import SRACL, SRACLConfig


def test_published_settings():
    config = SRACLConfig(paper_compat=True)
    expected = {
        "alpha": 0.1,
        "beta": 0.1,
        "temperature": 1.0,
        "neighbors": 10,
        "item_neighbors": 10,
        "replace_probability": 0.2,
        "attention": "gat_v1",
        "synthesis_dropout": 0.5,
        "renormalise": False,
        "dim": 64,
        "blocks": 2,
        "heads": 2,
        "feed_forward": 256,
        "max_length": 20,
        "dropout": 0.5,
        "attention_dropout": 0.5,
        "targets": "prefix",
        "loss": "full",
        "neighbor_bank": "none",
        "neighbor_pool": "all",
        "neighbors_per_user": "any",
        "views": 2,
        "encode_again": True,
        "mask_alike": False,
        "warmup_epochs": 0,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.anchors >= config.training.batch_size == 256  # every row is an anchor
    training = config.training
    assert (training.epochs, training.metric, training.patience) == (100, "mrr@10", 10)
    assert (training.learning_rate, training.weight_decay) == (1e-3, 0.0)


def test_explicit_values_win_over_the_published_ones():
    config = SRACLConfig(
        paper_compat=True, dropout=0.1, neighbor_bank="refresh", training={"epochs": 3}
    )
    assert (config.dropout, config.neighbor_bank, config.max_length) == (0.1, "refresh", 20)
    assert (config.training.epochs, config.training.metric) == (3, "mrr@10")


def test_without_it_the_defaults_are_ours():
    config = SRACLConfig()
    assert (config.neighbor_bank, config.neighbor_pool, config.max_length) == (
        "write_through", "clean", 50,
    )  # fmt: skip
    assert config.mask_alike
    assert config.renormalise
    assert config.neighbors_per_user == "one"


@pytest.mark.parametrize("options", [{}, {"paper_compat": True}, {"paper_compat": True, "dim": 8}])
def test_settings_survive_json(options):
    config = SRACLConfig(**options)
    assert SRACLConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -0.1}, "alpha is -0.1: .*greater than or equal to 0"),
        ({"temperature": 0}, "temperature is 0: .*greater than 0"),
        ({"neighbor_pol": "all"}, "unknown option 'neighbor_pol'; did you mean 'neighbor_pool'"),
        ({"attention": "gat"}, "attention is 'gat': .*'gat_v1'"),
        ({"replace_probability": 1.2}, "replace_probability is 1.2: .*less than or equal to 1"),
        ({"neighbor_bank": "none", "anchors": 5000}, "lower anchors"),
        ({"paper_compat": True, "heads": 3}, "heads=3 must divide dim=64"),
    ],
)
def test_settings_out_of_range(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SRACL(**options)
