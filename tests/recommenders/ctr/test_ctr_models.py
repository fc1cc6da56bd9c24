"""DIN, SIM and DeepFM against loops, and the promises about their states."""

import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import log_loss

from llmrec.data import Catalog, Dataset, Histories, Interactions
from llmrec.data.splits import given
from llmrec.errors import ConfigError, DataError, UnknownIdError
from llmrec.recommenders.ctr import DIN, SIM, DeepFM
from llmrec.recommenders.ctr.config import DeepFMConfig, DINConfig
from llmrec.recommenders.ctr.deepfm import DeepFMNetwork
from llmrec.recommenders.ctr.din import TargetAttention
from llmrec.recommenders.ctr.features import Feedback
from llmrec.recommenders.ctr.network import Sizes, module_key
from llmrec.recommenders.ctr.search import co_occurrence_vectors, most_similar

SMALL = {"dim": 4, "hidden": (8,)}
MODELS = [
    (DIN, {"history": 5, "attention_hidden": 4}),
    (SIM, {"history": 9, "found": 3, "attention_hidden": 4}),
    (DeepFM, {"history": 5}),
]


def taste_world(seed=0, users=40, items=12, length=16):
    """Users like odd items or even ones; only the history tells which."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for step in range(length):
            item = int(rng.integers(items))
            part = "train" if step < length - 4 else "valid" if step < length - 2 else "test"
            rows.append((f"u{user}", item, 10 * step, int(item % 2 == user % 2), part))
    names = ["user_id", "item_id", "timestamp", "label", "split"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    catalog = Catalog(
        pl.DataFrame({"item_id": range(items), "kind": ["even", "odd"] * (items // 2)})
    )
    return given(Dataset("taste", Interactions(frame, "keep"), catalog))


SPLIT = taste_world()


def trained(model):
    return model.use_judged(SPLIT.labelled_cases("valid")).fit(SPLIT.train_histories())


@pytest.mark.parametrize(("cls", "options"), MODELS)
def test_learns_what_only_the_history_tells(cls, options):
    training = {"epochs": 20, "batch_size": 32, "learning_rate": 0.01, "patience": 8}
    wide = {**SMALL, **options, "dim": 8, "fields": ["item"], "init_std": 0.3}
    model = trained(cls(**wide, training=training))
    cases = SPLIT.labelled_cases("test")
    found = model.score_pairs(cases.histories, cases.items)
    assert found.min() >= 0
    assert found.max() <= 1
    wins = found[cases.labels == 1][:, None] > found[cases.labels == 0]
    assert wins.mean() > 0.8
    assert {"auc", "uauc", "logloss"} == model.log[1]["valid"].keys()


@pytest.mark.parametrize(("cls", "options"), MODELS)
def test_states(cls, options, tmp_path):
    training = {"epochs": 1, "batch_size": 32}
    model = cls(**SMALL, **options, dropout=0.5, training=training).fit(SPLIT.train_histories())
    model._net.train()  # whatever was done to the network, states are computed in evaluation
    histories = SPLIT.train_histories().take([3, 0, 7])
    users = model.user_state(histories)
    assert users.shape == (3, model.user_dim)
    np.testing.assert_array_equal(users, model.user_state(histories))
    first = model.instance_state(histories, [0, 1, 2])
    assert first.shape == (3, model.instance_dim)
    assert not np.allclose(first, model.instance_state(histories, [3, 4, 5]))
    np.testing.assert_array_equal(users, model.user_state(histories))
    model.save_pretrained(tmp_path / "with")
    model.save_pretrained(tmp_path / "without", include_users=False)
    again = cls.from_pretrained(tmp_path / "with")
    np.testing.assert_array_equal(again.user_state(histories), users)
    assert again.fingerprint == model.fingerprint
    stranger = cls.from_pretrained(tmp_path / "without").user_state(histories)
    assert not stranger[:, : SMALL["dim"]].any()  # the users' own vectors stayed at home
    np.testing.assert_array_equal(stranger[:, SMALL["dim"] :], users[:, SMALL["dim"] :])


@pytest.mark.parametrize(("cls", "options"), MODELS)
def test_empty_histories_and_strangers(cls, options):
    model = cls(**SMALL, **options, training={"epochs": 1}).fit(SPLIT.train_histories())
    empty = Histories.from_lists({"nobody": [], "someone": [2]}, model.vocabulary)
    state = model.user_state(empty)
    assert np.isfinite(state).all()
    dim = SMALL["dim"]
    assert not state[0, : 2 * dim].any()  # neither a vector of the user nor of events
    assert np.isfinite(model.instance_state(empty, [1, 1])).all()
    with pytest.raises(UnknownIdError, match="99"):
        model.instance_state(empty, [1, 99])
    with pytest.raises(DataError, match="1 targets were given for 2 histories"):
        model.instance_state(empty, [1])


def test_attention_equals_a_loop():
    torch.manual_seed(0)
    attention = TargetAttention(3, 5, softmax=False)
    events, targets = torch.randn(2, 4, 3), torch.randn(2, 3)
    there = torch.tensor([[True, True, False, False], [True] * 4])
    found = attention(events, targets, there)
    for row, length in ((0, 2), (1, 4)):
        total = torch.zeros(3)
        for event in events[row, :length]:
            target = targets[row]
            inside = attention.event(event) + attention.target(target)
            inside = inside + attention.product(event * target)
            inside = torch.where(inside > 0, inside, attention.activation.weight * inside)
            total = total + attention.out(inside) * event
        torch.testing.assert_close(found[row], total)


def test_softmax_attention_averages_and_bears_empty_histories():
    attention = TargetAttention(3, 5, softmax=True)
    same = torch.ones(2, 4, 3)
    there = torch.tensor([[True, True, False, False], [False] * 4])
    found = attention(same, torch.randn(2, 3), there)
    torch.testing.assert_close(found, torch.tensor([[1.0] * 3, [0.0] * 3]))


def test_products_of_fields_equal_all_pairs():
    config = DeepFMConfig(fields=("user", "item", "history_length"), dim=3)
    network = DeepFMNetwork(config, Sizes(2, 4, 2, {}))
    user, items = torch.randn(5, network.user.dim), torch.randn(5, 1, 3)
    vectors = [user[:, :3], user[:, 3:6], items[:, 0]]  # user, history, item
    expected = sum((a * b).sum(-1) for a, b in itertools.combinations(vectors, 2))
    torch.testing.assert_close(network._products(user, items), expected)


def test_search_equals_sorting():
    rng = np.random.default_rng(0)
    vectors = torch.from_numpy(rng.normal(size=(9, 4)).astype(np.float32))
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    history = torch.tensor([[1, 2, 3, 2, 5, 0], [4, 0, 0, 0, 0, 0]])
    found = most_similar(vectors, history, torch.tensor([6, 7, 8]), torch.tensor([0, 0, 1]), 3)
    for pair, (row, item) in enumerate([(0, 6), (0, 7)]):
        scores = [(float(vectors[item] @ vectors[code]), at)
                  for at, code in enumerate(history[row].tolist()) if code]  # fmt: skip
        best = sorted(sorted(scores, reverse=True)[:3], key=lambda pair: pair[1])
        assert found[pair].tolist() == [at for _, at in best]
    assert 0 in found[2].tolist()  # the one event there is comes with padding


def test_of_equal_events_the_newest_are_found_in_a_long_history():
    vectors = torch.nn.functional.normalize(torch.ones(3, 4), dim=1)
    history = torch.ones(1, 500, dtype=torch.long)
    found = most_similar(vectors, history, torch.tensor([2]), torch.tensor([0]), 5)
    assert found.tolist() == [[495, 496, 497, 498, 499]]


def test_deepfm_knows_of_items_what_its_fields_say():
    fields = [{"name": "kind", "kind": "category", "column": "kind"}]
    model = DeepFM(**SMALL, fields=fields, training={"epochs": 3, "learning_rate": 0.1})
    train = SPLIT.train_histories()
    scores = model.use_catalog(SPLIT.dataset.catalog).fit(train).score_catalog(train)
    codes = model.vocabulary.encode(pl.Series(range(12))) - 1
    for first in (0, 1):
        alike = scores[:, codes[first::2]]
        np.testing.assert_array_equal(alike, np.repeat(alike[:, :1], 6, axis=1))
    assert np.abs(scores[:, codes[0]] - scores[:, codes[1]]).max() > 0.01


def test_deepfm_is_bias_first_order_products_and_depth():
    """Guo et al. (2017), equations 1 to 4, written out for every pair of fields."""
    fields = ["item", {"name": "kind", "kind": "category", "column": "kind"}]
    options = {**SMALL, "fields": fields, "dropout": 0.0, "training": {"epochs": 1}}
    model = DeepFM(**options).use_catalog(SPLIT.dataset.catalog).fit(SPLIT.train_histories())
    net, histories = model._net, SPLIT.train_histories().take([0])
    state = torch.from_numpy(model.user_state(histories))[0]
    kind = net.items.table_kind
    for item in range(1, 13):
        value = int(kind[item, 0])
        tower = net.items.vectors
        own = [state[:4], tower["item"].weight[item], tower["kind"].weight[value]]
        first = net.first_items["item"].weight[item] + net.first_items["kind"].weight[value]
        products = sum(a @ b for a, b in itertools.combinations(own, 2))
        deep = net.out(net.hidden(torch.cat([state, *own[1:]])[None]))[0]
        odds = (first + net.first_user(state) + products + deep).item()
        found = model.score_pairs(histories, np.array([item], dtype=np.int32))
        assert found[0] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-5)


def test_a_search_that_keeps_everything_is_din():
    options = {**SMALL, "history": 12, "attention_hidden": 4, "training": {"epochs": 1}}
    sim = SIM(**options, found=12).fit(SPLIT.train_histories())
    din = DIN(**options).fit(SPLIT.train_histories())
    weights = {name: value for name, value in sim._net.state_dict().items() if name != "similar"}
    din._net.load_state_dict(weights)
    cases = SPLIT.labelled_cases("test")
    np.testing.assert_allclose(
        sim.score_pairs(cases.histories, cases.items),
        din.score_pairs(cases.histories, cases.items),
        rtol=1e-5,
    )


def test_co_occurrence_is_the_cosine_of_people():
    train = SPLIT.train_histories()
    vectors = co_occurrence_vectors(train, 12)
    people = [{row for row in range(len(train)) if item in train[row]} for item in range(1, 13)]
    sets = np.array([[row in found for row in range(len(train))] for found in people], float)
    scaled = sets / np.linalg.norm(sets, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[1:] @ vectors[1:].T, scaled @ scaled.T, atol=1e-5)
    fewer = co_occurrence_vectors(train, 4)
    assert fewer.shape == (13, 4)
    left, values, _ = np.linalg.svd(scaled)
    best = left[:, :4] * values[:4]
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    np.testing.assert_allclose(fewer[1:] @ fewer[1:].T, best @ best.T, atol=1e-5)
    assert not vectors[0].any()


def test_given_and_text_similarity():
    train, catalog = SPLIT.train_histories(), SPLIT.dataset.catalog
    options = {**SMALL, "found": 2, "training": {"epochs": 1}}
    model = SIM(**options).use_vectors(np.eye(12)).fit(train)
    assert torch.equal(model._net.similar[1:], torch.eye(12))
    with pytest.raises(DataError, match=r"shape \(3, 3\), but there are 12 items"):
        SIM(**options).use_vectors(np.eye(3)).fit(train)
    with pytest.raises(ConfigError, match="similarity=text needs use_catalog"):
        SIM(**options, similarity="text").fit(train)
    titled = Catalog(catalog.frame.with_columns(title=pl.col("kind") + " thing"))
    model = SIM(**options, similarity="text").use_catalog(titled).fit(train)
    alike = model._net.similar[1] @ model._net.similar[1:].T
    assert alike[::2].min() > alike[1::2].max()


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([*range(5), *range(6, 12)], "lacks 1 of them, 5 first"),
        (range(13), "has 1 more, 12 first"),
        (range(1, 13), "lacks 1 of them, 0 first"),
    ],
    ids=["missing", "extra", "shifted"],
)
def test_a_catalog_of_other_items_is_refused(ids, sentence):
    other = Catalog(pl.DataFrame({"item_id": list(ids)}).with_columns(title=pl.lit("thing")))
    fields = ["item", {"name": "title", "kind": "category"}]
    for model in (SIM(**SMALL, similarity="text"), DIN(**SMALL, fields=fields)):
        with pytest.raises(DataError, match=sentence):
            model.use_catalog(other).fit(SPLIT.train_histories())
        assert not model.is_fitted


def test_fields_on_the_catalog():
    fields = ["item", {"name": "kind", "kind": "category"}]
    options = {**SMALL, "fields": fields, "training": {"epochs": 1}}
    model = DIN(**options).use_catalog(SPLIT.dataset.catalog).fit(SPLIT.train_histories())
    assert model._net.items.table_kind[:4, 0].tolist() == [0, 1, 2, 1]
    with pytest.raises(ConfigError, match="field 'kind' is about the catalog; call use_catalog"):
        DIN(**options).fit(SPLIT.train_histories())


NAMES = ["type", "values", "a.b", "similar", "=", "training", "items", "table_x"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", [SIM, DeepFM])
def test_a_field_may_have_any_name(cls, name, tmp_path):
    year = {"name": f"year of {name}", "kind": "number", "column": "year"}
    catalog = SPLIT.dataset.catalog
    dated = Catalog(catalog.frame.with_columns(year=pl.int_range(pl.len())))
    train, found = SPLIT.train_histories(), []
    for called in (name, "kind"):
        fields = ["item", {"name": called, "kind": "category", "column": "kind"}, year]
        model = cls(**SMALL, fields=fields, training={"epochs": 1}).use_catalog(dated).fit(train)
        found.append(model.score_catalog(train))
        model.save_pretrained(tmp_path / called)
        again = cls.from_pretrained(tmp_path / called)
        np.testing.assert_array_equal(again.score_catalog(train), found[-1])
    np.testing.assert_array_equal(*found)


def test_names_that_were_possible_stay_what_they_are_among_weights():
    """Saved models and their fingerprints hold them."""
    for name in ("kind", "item", "similar", "genre of it", "field_1"):
        assert module_key(name) == name
    assert len({module_key(name) for name in NAMES}) == len(NAMES)


def test_later_events_are_left_for_others():
    histories = SPLIT.train_histories()
    share = {"train_share": 0.5, "training": {"epochs": 2}}
    model = DIN(**SMALL, **share).fit(histories)
    assert model.trained_until is not None
    late = histories.times >= model.trained_until
    assert late.any()
    labels = np.where(late, 1 - histories.labels, histories.labels).astype(np.int8)
    other = DIN(**SMALL, **share).fit(dataclasses.replace(histories, labels=labels))
    assert other.trained_until == model.trained_until
    for name, value in model._net.state_dict().items():
        assert torch.equal(other._net.state_dict()[name], value), name


def test_weights_chosen_by_logloss_are_those_with_the_lowest():
    training = {"epochs": 8, "learning_rate": 0.3, "metric": "logloss", "patience": 8}
    model = trained(DIN(**SMALL, history=5, training=training))
    watched = [row["valid"]["logloss"] for row in model.log if "valid" in row]
    assert len(set(watched)) > 1
    cases = SPLIT.labelled_cases("valid")
    found = model.score_pairs(cases.histories, cases.items)
    assert log_loss(cases.labels, found) == pytest.approx(min(watched), rel=1e-5)


@pytest.mark.parametrize("metric", ["ndcg@10", "acu"])
def test_a_metric_that_pairs_do_not_give_is_refused_before_training(metric):
    model = DIN(**SMALL, training={"metric": metric})
    with pytest.raises(ConfigError, match=f"din: training.metric: {metric} is not computed from"):
        trained(model)
    assert not model.log


def test_a_mistyped_ranking_metric_is_refused_before_training():
    model = DIN(**SMALL, training={"metric": "ndgc@10"})
    with pytest.raises(ConfigError, match=r"din: training.metric: unknown metric .*mean 'ndcg'"):
        model.fit(SPLIT.train_histories(), SPLIT.cases("valid"))


def test_a_metric_of_pairs_needs_pairs():
    with pytest.raises(ConfigError, match="needs judged pairs; call use_judged"):
        DIN(**SMALL).fit(SPLIT.train_histories(), SPLIT.cases("valid"))
    training = {"epochs": 1, "metric": "ndcg@10"}
    model = DIN(**SMALL, training=training).fit(SPLIT.train_histories(), SPLIT.cases("valid"))
    assert "ndcg@10" in model.log[1]["valid"]


@pytest.fixture
def constant():
    """A DIN whose weights are numbers that no machine computes otherwise."""
    options = {"history": 5, "attention_hidden": 4, "training": {"epochs": 1}}
    model = DIN(**SMALL, **options).fit(SPLIT.train_histories())
    with torch.no_grad():
        for weight in model._net.parameters():
            weight.copy_(torch.arange(weight.numel()).view_as(weight) / 8)
    model._feedback = Feedback(np.array([0, 1], dtype=np.float32), 0.5, 1.0)
    return model


def test_the_fingerprint_of_given_weights_and_settings_stays_what_it_is(constant):
    assert constant.fingerprint == "20fafd3d0c0ec3bb"


def test_the_fingerprint_knows_no_training_and_no_setting_that_is_as_ever(constant):
    found = constant.fingerprint

    class Further(DINConfig):
        later: int = 3

    config = constant.config.model_dump()
    for changed in (
        Further(**config),
        DINConfig(**{**config, "training": {"epochs": 9, "seed": 5}}),
    ):
        constant.config = changed
        assert constant.fingerprint == found
    for changed in (Further(**config, later=4), DINConfig(**{**config, "history": 6})):
        constant.config = changed
        assert constant.fingerprint != found


def test_the_fingerprint_knows_weights_of_users_and_of_all(constant):
    found = constant.fingerprint
    for name, weight in constant._net.named_parameters():
        with torch.no_grad():
            weight.view(-1)[-1] += 1
            assert constant.fingerprint != found, name
            weight.view(-1)[-1] -= 1
    assert constant.fingerprint == found
