"""RecLoRA as a whole: what it learns, its variants, its artefacts, and what it refuses."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from reclora_worlds import TRAINING, fitted_on, liking_world, make_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from llmrec.adapters.experts import Experts
from llmrec.data import Catalog, Histories
from llmrec.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ProtocolError,
    TrainingError,
    UnknownIdError,
)
from llmrec.evaluation.metrics.pairs import auc
from llmrec.recommenders.popularity import Popularity
from llmrec.recommenders.reclora import RecLoRA, RecLoRAConfig
from llmrec.resources import resource_dir
from llmrec.templates import load_template
from llmrec.testing.tiny_llama import save_tiny_llama

SPLIT = liking_world()


@pytest.fixture(scope="module")
def model(base_folder):
    return fitted_on(SPLIT, make_model(base_folder).use_judged(SPLIT.labelled_cases("valid")))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_gates_tell_what_the_prompt_does_not(base_folder):
    """Without any text history only the gates can know whether a user likes odd items."""
    split = liking_world(users=40, length=20)
    lora = {"experts": 4, "target_modules": ["q_proj", "v_proj", "down_proj"], "b_noise": 0.05}
    training = {"epochs": 6, "learning_rate": 0.02}
    options = {"text_history": 0, "lora": lora, "training": training}
    ctr = {"dim": 8, "hidden": (8,), "fields": ["item"], "init_std": 0.3}
    ctr["training"] = {"epochs": 15, "batch_size": 32, "learning_rate": 0.01}
    own = make_model(base_folder, **options, ctr=ctr)
    other = make_model(base_folder, **options, ctr=ctr, gate_control="shuffled")
    cases = split.labelled_cases("test")
    found = []
    for model in (own, other):
        fitted_on(split, model)
        found.append(auc(cases.labels, model.score_pairs(cases.histories, cases.items)))
    assert found[0] > 0.8
    assert found[1] < 0.65


def test_fit_tells_how_it_was_made(model):
    assert {"auc", "uauc", "logloss"} == model.log[1]["valid"].keys()
    assert model.details["action"] == "like"
    assert model.details["rows"] == 24 * 5
    report = model.reports()["gates"]
    assert {"entropy", "variance_across_users", "largest_load", "expert_similarity"} <= set(report)
    assert 0 < report["entropy"] <= 1
    assert (report["schema"], report["users"], report["experts"]) == (1, 24, 2)
    assert report["bytes_per_user"] == 2 * 4 * 2  # gates, experts, float16
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert model.score_pairs(*pairs_of(model)).min() >= 0


def pairs_of(model):
    cases = SPLIT.labelled_cases("test")
    return cases.histories.with_vocabulary(model.vocabulary), cases.items


VARIANTS = [
    {"lora": {"compose": "sum_products", "gate_scope": "layer"}},
    {"lora": {"compose": "rank_scale", "experts": 1, "gate_scope": "global"}},
    {"lora": {"compose": "shared", "experts": 1, "rank": 4}},
    {"lora": {"gate_input": "instance"}},
    {"lora": {"balance": 0.1, "gate_activation": "sqrt_softmax"}, "ctr_share": 1.0},
    {"gate_control": "uniform"},
    {"gate_control": "shuffled", "retrieval": "user_topk"},
    {"retrieval": "target_topk", "ctr": {"name": "sim", "dim": 4, "found": 3}},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: json.dumps(o)[:50])
def test_variants_are_settings(base_folder, tmp_path, options):
    model = fitted_on(SPLIT, make_model(base_folder, **options))
    histories, items = pairs_of(model)
    histories, items = histories.take(np.arange(8)), items[:8]
    found = model.score_pairs(histories, items)
    assert np.isfinite(found).all()
    assert found.std() > 0
    catalog = model.score_catalog(histories)
    odds = catalog[np.arange(8), items - 1].astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), found, atol=1e-4)
    model.save_pretrained(tmp_path / "model")
    again = RecLoRA.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(again.score_pairs(histories, items), found)


def test_prompts_put_to_the_base_model_with_a_users_adapter_give_the_score(model, tmp_path):
    histories, items = pairs_of(model)
    histories, items = histories.take([0, 7, 20]), items[[0, 7, 20]]
    store = model.make_store(tmp_path / "store", gate_dtype="float32", dtype="float32")
    store.put(histories.user_ids.to_list(), model.gates(histories))
    found = []
    for user, asked in zip(histories.user_ids, model.prompts(histories, items), strict=True):
        base = AutoModelForCausalLM.from_pretrained(model.config.base)
        tuned = PeftModel.from_pretrained(base, store.adapter(user).path).eval()
        with torch.inference_mode():
            logits = tuned(input_ids=torch.tensor([asked.tokens])).logits[0, -1].double()
        found.append(float(logits[list(asked.answer_tokens)].softmax(0)[0]))
    np.testing.assert_allclose(found, model.score_pairs(histories, items), atol=1e-5)


def test_prompts_read_as_the_template_and_their_text_has_the_same_tokens(model):
    histories, items = pairs_of(model)
    row = 5
    (asked,) = model.prompts(histories.take([row]), items[[row]])
    titles, told = model.titles.to_list(), histories.take([row]).last(3)
    liked = [bool(label) for label in told.labels]
    opinions = [(titles[code - 1], like) for code, like in zip(told.items, liked, strict=True)]
    expected = load_template("yes_no_question").render(
        opinions=opinions, chosen=[], action="like", title=titles[items[row] - 1]
    )
    assert asked.text == expected
    tokens = model.ranker.questions.tokens
    assert tuple(tokens.prompts([asked.text])[0]) == asked.tokens
    assert asked.answers == ("Yes", "No")
    assert [tokens.piece(token) for token in asked.answer_tokens] == ["Y", "N"]
    with pytest.raises(DataError, match="2 items were given for 1 histories"):
        model.prompts(histories.take([row]), items[:2])


def test_uniform_gates_are_even_for_everybody(base_folder):
    model = fitted_on(SPLIT, make_model(base_folder, gate_control="uniform"))
    weights = model.ranker.weights(None, np.array([3, 0]))
    assert weights.shape == (1, 4, 2)
    assert (weights == 0.5).all()
    assert not any(p.requires_grad for p in model.ranker.lora.gates.parameters())
    with pytest.raises(ArtifactError, match="do not read users alone"):
        model.gates(SPLIT.train_histories())


def test_nobodys_history_gets_the_mean_gate_and_is_counted(model):
    empty = Histories.from_lists({"new": [], "old": [1, 2]}, model.vocabulary)
    before = model.fallbacks
    weights = model.gates(empty)
    assert model.fallbacks == before  # looking at gates serves nobody
    model.score_pairs(empty, np.array([1, 2], dtype=np.int32))
    assert model.fallbacks == before + 1
    rate = model.fallbacks / model.ranker.served
    assert model.reports()["gates"]["fallback_rate"] == rate > 0
    np.testing.assert_allclose(weights[0], model.ranker.prior, atol=1e-6)
    assert np.abs(weights[1] - model.ranker.prior).max() > 1e-6
    assert np.isfinite(model.score_catalog(empty)).all()


def test_a_model_without_gates_reports_none(base_folder):
    lora = {"compose": "shared", "experts": 1, "rank": 4}
    assert fitted_on(SPLIT, make_model(base_folder, lora=lora)).reports() == {}


def test_few_events_are_drawn_to_the_mean_gate(base_folder):
    plain = fitted_on(SPLIT, make_model(base_folder))
    shrunk = fitted_on(SPLIT, make_model(base_folder, shrink=4.0))
    histories = SPLIT.train_histories().prefixes([0, 1], [2, 6])
    own, mixed, prior = plain.gates(histories), shrunk.gates(histories), plain.ranker.prior
    share = np.array([2 / 6, 6 / 10])[:, None, None]
    expected = share * own + (1 - share) * shrunk.ranker.prior
    np.testing.assert_allclose(mixed, expected, atol=1e-5)
    assert not np.allclose(own, mixed)
    assert prior.shape == mixed.shape[1:]


def test_newcomers_get_the_mean_of_gates_that_nothing_was_drawn_to(base_folder):
    plain = fitted_on(SPLIT, make_model(base_folder))
    shrunk = fitted_on(SPLIT, make_model(base_folder, shrink=4.0))
    train = SPLIT.train_histories()
    late = [(user, step) for user in range(24) for step in range(5, 10)]  # what experts learn
    histories = train.prefixes(*np.array(late).T)
    expected = plain.gates(histories).mean(axis=0)
    np.testing.assert_allclose(plain.ranker.prior, expected, atol=1e-6)
    np.testing.assert_allclose(shrunk.ranker.prior, expected, atol=1e-6)
    assert np.abs(expected - 0.5).max() > 1e-4  # not what was there before


def test_states_of_users_stay_here_unless_asked_for(base_folder, tmp_path):
    model = fitted_on(SPLIT, make_model(base_folder, gate_control="shuffled"))
    users = 24 * 5
    model.save_pretrained(tmp_path / "with")
    model.save_pretrained(tmp_path / "without", include_users=False)
    for name in ("with", "without"):
        arrays = load_file(tmp_path / name / "model.safetensors")
        assert not [n for n, values in arrays.items() if values.shape[:1] == (users,)]
        assert not [n for n in arrays if "stranger" in n]
    kept = load_file(tmp_path / "with" / "users.safetensors")
    assert kept["inputs.strangers"].shape[0] == kept["inputs.stranger_keys"].size == users
    assert not (tmp_path / "without" / "users.safetensors").exists()
    histories, items = pairs_of(model)
    again = RecLoRA.from_pretrained(tmp_path / "with")
    np.testing.assert_array_equal(
        again.score_pairs(histories, items), model.score_pairs(histories, items)
    )
    with pytest.raises(ArtifactError, match="saved without users"):
        RecLoRA.from_pretrained(tmp_path / "without")


def test_recommend_ranks_the_candidates_of_another_anew(model):
    histories = SPLIT.train_histories().take([0, 1, 2])
    popular = Popularity().fit(SPLIT.train_histories())
    few = model.config.model_copy(update={"candidates": 3})
    kept, model.config = model.config, few
    try:
        found = model.use_candidates(popular).recommend(histories, k=3, exclude_seen=False)
    finally:
        model.config, model._first_stage = kept, None
    best = set(popular.recommend(histories.take([0]), k=3, exclude_seen=False)["item_id"])
    scores = model.score_catalog(histories)
    for row, user in enumerate(histories.user_ids):
        own = found.filter(pl.col("user_id") == user)
        assert set(own["item_id"]) == best
        codes = model.vocabulary.encode(own["item_id"])
        np.testing.assert_allclose(own["score"], scores[row, codes - 1], atol=2e-4)
        assert (np.diff(own["score"].to_numpy()) <= 0).all()
    other = Popularity().fit(liking_world(items=6).train_histories())
    with pytest.raises(DataError, match="scores other items"):
        model.use_candidates(other)


def test_a_ctr_model_may_be_given(model, base_folder):
    again = fitted_on(SPLIT, make_model(base_folder).use_ctr(model.ctr))
    assert again.ctr is model.ctr
    for name, tensor in fitted_on(SPLIT, make_model(base_folder)).experts().tensors.items():
        assert torch.equal(tensor, again.experts().tensors[name]), name
    with pytest.raises(ConfigError, match="another CTR model than the settings describe"):
        make_model(base_folder, ctr_share=0.9).use_ctr(model.ctr)
    other = liking_world(items=6).train_histories()
    with pytest.raises(DataError, match="knows other items"):
        make_model(base_folder, item_names="id").use_ctr(model.ctr).fit(other)


def test_a_given_ctr_model_must_have_learnt_the_same_events(base_folder, tmp_path):
    train, later = SPLIT.train_histories(), SPLIT.train_histories(include_valid=True)
    everything = {"ctr_share": 1.0, "item_names": "id"}
    for options, sentence in (
        ({"item_names": "id"}, "learnt the events before 60 .* is to learn the events before 50"),
        (everything, f"up to part valid of split {SPLIT.hash}, but these are liking up to part tr"),
    ):
        of_later = make_model(base_folder, **options).fit(later).ctr
        model = make_model(base_folder, **options).use_ctr(of_later)
        with pytest.raises(ProtocolError, match=sentence):
            model.fit(train)
        assert not model.is_fitted
    nameless = make_model(base_folder, **everything).fit(dataclasses.replace(train, origin=None))
    with pytest.raises(ProtocolError, match="events of unknown origin"):
        make_model(base_folder, **everything).use_ctr(nameless.ctr).fit(train)
    fitted = make_model(base_folder, **everything).fit(train)
    fitted.save_pretrained(tmp_path / "model")
    loaded = RecLoRA.from_pretrained(tmp_path / "model").ctr
    again = make_model(base_folder, **everything).use_ctr(loaded).fit(train)
    assert again.experts().fingerprint == fitted.experts().fingerprint


def test_a_store_holds_everybodys_gates(model, tmp_path):
    store = model.make_store(tmp_path / "store", gate_dtype="float32")
    assert store.stats()["users"] == 24
    assert store.bundle == model.bundle
    users = model.known_histories.user_ids
    np.testing.assert_allclose(
        store.gate(users[5]).gate, model.gates(model.known_histories)[5], atol=1e-6
    )
    store.put_states([users[5]], model.gate_inputs(model.known_histories.take([5])))
    np.testing.assert_allclose(
        store.gate(users[5]).gate, model.gates(model.known_histories)[5], atol=1e-6
    )
    assert isinstance(model.experts(), Experts)


def test_resumed_training_gives_the_same_bits(base_folder, tmp_path):
    training = {**TRAINING, "epochs": 3}
    whole = fitted_on(SPLIT, make_model(base_folder, training=training))
    options = make_model(base_folder, training=training).config
    first = RecLoRA(options, checkpoints=tmp_path / "c").use_catalog(SPLIT.dataset.catalog)
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    from llmrec.recommenders.reclora.network import AnswerLoss

    original = AnswerLoss.end_epoch
    try:
        AnswerLoss.end_epoch = lambda self: (stop(), original(self))[1]
        with pytest.raises(KeyboardInterrupt):
            first.fit(SPLIT.train_histories())
    finally:
        AnswerLoss.end_epoch = original
    kept = sum(f.stat().st_size for f in (tmp_path / "c" / "experts").rglob("*.safetensors"))
    assert kept < 400_000  # the frozen base model is not in the checkpoints
    again = RecLoRA(options, checkpoints=tmp_path / "c", resume=True)
    fitted_on(SPLIT, again)
    for name, tensor in whole.experts().tensors.items():
        assert torch.equal(tensor, again.experts().tensors[name]), name


def test_checkpointing_of_gradients_changes_no_bit(base_folder):
    found = []
    for on in (False, True):
        lora = {"dropout": 0.1}
        model = fitted_on(SPLIT, make_model(base_folder, lora=lora, gradient_checkpointing=on))
        found.append(model)
        assert model.ranker.lora.model.is_gradient_checkpointing == on
    plain, saving = found
    losses = [[row["loss"] for row in model.log] for model in found]
    assert losses[0] == losses[1]
    assert plain.experts().fingerprint == saving.experts().fingerprint
    histories, items = pairs_of(plain)
    np.testing.assert_array_equal(*(model.score_pairs(histories, items) for model in found))


# ---- what does not belong together ----


def test_another_base_model_is_refused_by_name(model, saved, tmp_path, base_folder):
    changed = tmp_path / "copy"
    copy_with(saved, changed, base=str(save_tiny_llama(tmp_path / "other", seed=1)))
    with pytest.raises(ArtifactError, match=r"trained on the base model .* but the model given is"):
        RecLoRA.from_pretrained(changed)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("tokenizer", "trained with the tokenizer"), ("ctr_model", "with the ctr model"),
     ("vocabulary", "with the vocabulary")],
)  # fmt: skip
def test_other_parts_are_refused_by_name(saved, tmp_path, what, sentence):
    copy_with(saved, tmp_path / "copy", bundle={what: "0" * 16})
    with pytest.raises(ArtifactError, match=sentence):
        RecLoRA.from_pretrained(tmp_path / "copy")


def test_another_text_of_the_prompt_is_refused_by_name(base_folder, tmp_path):
    template = (resource_dir("prompts") / "yes_no_question.md.jinja").read_text()
    (tmp_path / "own.jinja").write_text(template)
    model = fitted_on(SPLIT, make_model(base_folder, prompt=str(tmp_path / "own.jinja")))
    model.save_pretrained(tmp_path / "model")
    assert RecLoRA.from_pretrained(tmp_path / "model").is_fitted
    (tmp_path / "own.jinja").write_text(template.replace("{{ title }}", "this: {{ title }}"))
    with pytest.raises(ArtifactError, match="trained with another text of the prompt"):
        RecLoRA.from_pretrained(tmp_path / "model")


def test_events_without_an_answer_take_no_room_in_prompts(model):
    train = SPLIT.train_histories().take([0, 1])
    labels = train.labels.copy()
    labels[7:10] = -1  # the newest of the first person
    partly = dataclasses.replace(train, labels=labels)
    told = model.ranker.questions.told(partly)
    np.testing.assert_array_equal(told.items, np.r_[train.items[4:7], train.items[17:20]])
    np.testing.assert_array_equal(told.liked, np.r_[labels[4:7], labels[17:20]] > 0)


def test_histories_without_answers_are_told_of(model):
    bare = Histories.from_lists({"guest": [1, 2]}, model.vocabulary)
    with pytest.warns(UserWarning, match="these histories do not say; prompts tell their events"):
        model.rank(bare, candidates=[3, 4])


def copy_with(saved, target, bundle=None, **config):
    """A saved model whose description was changed."""
    target.mkdir()
    for file in saved.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    about = json.loads((saved / "model.json").read_text())
    about["config"] |= config
    about["details"]["bundle"] |= bundle or {}
    (target / "model.json").write_text(json.dumps(about))


@pytest.mark.parametrize("ids", [range(7), range(9), range(1, 9)], ids=["less", "more", "shifted"])
@pytest.mark.parametrize("names", ["title", "id"])
def test_a_catalog_of_other_items_is_refused(base_folder, ids, names):
    titles = [f"number {item}" for item in ids]
    other = Catalog(pl.DataFrame({"item_id": list(ids), "title": titles}))
    model = make_model(base_folder, item_names=names).use_catalog(other)
    wrong = {range(7): "lacks 1 of them, 7", range(9): "1 more, 8", range(1, 9): "1 of them, 0"}
    with pytest.raises(DataError, match=wrong[ids]):
        model.fit(SPLIT.train_histories())
    assert not model.is_fitted


def lose(monkeypatch, after):
    """Make the loss NaN after some of the 8 steps of an epoch."""
    from llmrec.recommenders.reclora.network import AnswerLoss

    original, steps = AnswerLoss.forward, []

    def forward(self, batch):
        steps.append(1)
        return original(self, batch) * (np.nan if len(steps) > after else 1.0)

    monkeypatch.setattr(AnswerLoss, "forward", forward)


def halting(base_folder, monkeypatch, after):
    """A model that lost its training, and the sentence of the error."""
    lose(monkeypatch, after)
    model = make_model(base_folder, training={"epochs": 3}).use_catalog(SPLIT.dataset.catalog)
    model.use_judged(SPLIT.labelled_cases("valid"))
    with pytest.raises(TrainingError, match="the loss is nan") as caught:
        model.fit(SPLIT.train_histories())
    return model, str(caught.value)


def test_a_training_that_stops_before_it_was_validated_leaves_no_model(
    base_folder, tmp_path, monkeypatch
):
    model, sentence = halting(base_folder, monkeypatch, after=2)
    assert "no validated weights exist yet" in sentence
    assert not model.is_fitted
    histories, items = SPLIT.train_histories().take([0]), np.array([1], dtype=np.int32)
    for asked in (
        lambda: model.score_pairs(histories, items),
        lambda: model.bundle,
        lambda: model.save_pretrained(tmp_path / "model"),
    ):
        with pytest.raises(ArtifactError, match="not fitted"):
            asked()
    assert not (tmp_path / "model").exists()


def test_a_training_that_stops_later_leaves_the_best_model(base_folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        model, sentence = halting(base_folder, patch, after=10)
    assert "the weights of epoch 1 are kept" in sentence
    late = [(user, step) for user in range(24) for step in range(5, 10)]  # what experts learn
    learnt = SPLIT.train_histories().prefixes(*np.array(late).T)
    np.testing.assert_allclose(model.ranker.prior, model.gates(learnt).mean(axis=0), atol=1e-6)
    histories, items = pairs_of(model)
    found = model.score_pairs(histories, items)
    assert np.isfinite(found).all()
    model.save_pretrained(tmp_path / "model")
    again = RecLoRA.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(again.score_pairs(histories, items), found)


def test_a_fitted_model_that_a_refit_leaves_without_weights_is_none(base_folder, monkeypatch):
    model = fitted_on(SPLIT, make_model(base_folder))
    with pytest.raises(DataError, match="catalog does not hold"):
        model.use_catalog(liking_world(items=6).dataset.catalog).fit(SPLIT.train_histories())
    assert model.is_fitted  # refused before anything was learnt
    assert np.isfinite(model.score_catalog(SPLIT.train_histories().take([0]))).all()
    lose(monkeypatch, after=2)
    with pytest.raises(TrainingError, match="the loss is nan"):
        fitted_on(SPLIT, model)
    assert not model.is_fitted


def test_a_saved_model_whose_training_did_not_end_is_refused(saved, tmp_path):
    copy_with(saved, tmp_path / "copy")
    about = json.loads((tmp_path / "copy" / "model.json").read_text())
    del about["details"]["bundle"]
    (tmp_path / "copy" / "model.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError, match="lacks bundle in its details"):
        RecLoRA.from_pretrained(tmp_path / "copy")


@pytest.mark.parametrize("code", [0, -1, 9])
def test_codes_that_name_no_item_are_refused(model, code):
    histories, items = pairs_of(model)
    histories, wrong = histories.take([0, 1]), np.array([items[0], code], dtype=np.int32)
    for asked in (model.score_pairs, model.prompts, model.ctr.score_pairs):
        with pytest.raises(UnknownIdError, match=f"item code {code} names no item; codes are 1 to"):
            asked(histories, wrong)


def test_missing_things_are_asked_for(base_folder):
    train = SPLIT.train_histories()
    with pytest.raises(ConfigError, match="use_catalog"):
        make_model(base_folder).fit(train)
    with pytest.raises(DataError, match="no clock"):
        make_model(base_folder, item_names="id").fit(dataclasses.replace(train, times=None))
    with pytest.raises(ConfigError, match="begin with the token"):
        fitted_on(SPLIT, make_model(base_folder, answers=None))
    with pytest.raises(ConfigError, match="no layer of LlamaForCausalLM is called"):
        fitted_on(SPLIT, make_model(base_folder, lora={"target_modules": ["q_prj"]}))
    with pytest.raises(ConfigError, match="experts are trained inside a model"):
        fitted_on(SPLIT, make_model("fake"))
    with pytest.raises(ConfigError, match="needs judged pairs"):
        make_model(base_folder, item_names="id").fit(train, SPLIT.cases("valid"))
    judged = make_model(base_folder, training={"metric": "ndcg@10"}).use_catalog(
        SPLIT.dataset.catalog
    )
    judged.use_judged(SPLIT.labelled_cases("valid"))
    with pytest.raises(
        ConfigError, match=r"reclora: training.metric: ndcg@10 is not computed from"
    ):
        judged.fit(train)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lora": {"compose": "shared"}}, "compose=shared has one expert"),
        (
            {"lora": {"compose": "shared", "experts": 1}, "gate_control": "shuffled"},
            "compose=shared has no gates",
        ),
        (
            {"lora": {"compose": "rank_scale", "experts": 1, "balance": 0.1}},
            "compose=rank_scale has no weights of experts to spread",
        ),
        ({"ctr": {"name": "dien"}}, "ctr"),
        ({"ctr": {"train_share": 0.5}}, "set ctr_share beside ctr"),
        ({"max_tokens": 32, "title_tokens": 20}, "at most half of max_tokens"),
    ],
)
def test_settings_out_of_range(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RecLoRA(base="fake", **options)


def test_config_keeps_every_setting():
    config = RecLoRAConfig(base="x", ctr={"name": "sim", "found": 7}, training={"epochs": 3})
    assert config.ctr.found == 7
    assert (config.training.metric, config.training.epochs) == ("auc", 3)
    assert RecLoRAConfig.model_validate_json(config.model_dump_json()) == config
