"""Who is asked about what, how answers become an order, and what is refused."""

import dataclasses
import json
import re

import numpy as np
import pytest

from llmrec.data.histories import Origin
from llmrec.errors import ArtifactError, ConfigError, LanguageModelError, ProtocolError
from llmrec.inference.cache import ResponseCache
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.requests import ScoreRequest
from llmrec.inference.results import Generation, Score
from llmrec.recommenders.artifacts import load
from llmrec.recommenders.item_knn import ItemKNN
from llmrec.recommenders.llm_ranker import LLMRanker
from llmrec.recommenders.popularity import Popularity
from llmrec.runs.execute import train
from llmrec.runs.recipe import parse_recipe
from llmrec.testing.worlds import make_world


@pytest.fixture(scope="module")
def world():
    return make_world("strings")


class Asked(FakeLanguageModel):
    """Remembers requests."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen = []

    def score(self, requests):
        self.seen += requests
        return super().score(requests)

    def generate(self, requests):
        self.seen += requests
        return super().generate(requests)


def titles_in(request):
    """Ids that a list asks about, in its order."""
    return re.findall(r"^\[\d+\] (\S+)$", request.prompt, re.MULTILINE)


def by_name(prompt):
    """The reply of somebody who orders items by their names."""
    titles = re.findall(r"^\[\d+\] (\S+)$", prompt, re.MULTILINE)
    order = sorted(range(len(titles)), key=lambda place: titles[place])
    return " > ".join(f"[{place + 1}]" for place in order)


# ---- pointwise ----


def test_log_odds_are_those_of_one_request_each(world):
    fake = FakeLanguageModel()
    model = LLMRanker(n_candidates=20).use_language_model(fake).fit(world.train)
    histories = world.strangers((2, 5))
    found = model.score(histories, world.items[:4])
    prompts = "The user chose: {}\nWill the user choose {}?"
    for row in range(2):
        chosen = "; ".join(world.items[code - 1] for code in histories[row])
        for column in range(4):
            prompt = prompts.format(chosen, world.items[column])
            (answer,) = fake.score([ScoreRequest(prompt, (" Yes", " No"))])
            odds = answer.texts[0].logprob - answer.texts[1].logprob
            assert found[row, column] == pytest.approx(odds, abs=1e-4)


def test_probabilities_of_pairs(world):
    model = LLMRanker(language_model="fake", n_candidates=20).fit(world.train)
    histories = world.strangers((2, 5))
    found = model.score_pairs(histories, np.array([3, 1], dtype=np.int32))
    odds = model.score_catalog(histories)[[0, 1], [2, 0]]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-odds)), rtol=1e-5)
    with pytest.raises(ConfigError, match="listwise ranking gives no probabilities"):
        LLMRanker(language_model="fake", mode="listwise").fit(world.train).score_pairs(
            histories, np.array([3, 1], dtype=np.int32)
        )


def test_only_the_best_of_the_base_are_asked_about(world):
    fake = Asked()
    model = LLMRanker(base="popularity", n_candidates=3).use_language_model(fake).fit(world.train)
    histories = world.strangers((2,))
    found = model.score_catalog(histories)[0]
    base = Popularity().fit(world.train).score_catalog(histories)[0]
    base[histories.items - 1] = -np.inf  # what was chosen before is no candidate
    best = set(np.argsort(-base, kind="stable")[:3].tolist())
    (request,) = fake.seen
    assert len(request.continuations) == 2 * 3
    assert set(np.argsort(-found, kind="stable")[:3].tolist()) == best
    rest = [column for column in range(len(world.items)) if column not in best]
    assert len({float(x) for x in found[rest]}) > 1
    plain = Popularity().fit(world.train).score_catalog(histories)[0]
    for one in rest:
        for other in rest:
            assert (found[one] < found[other]) == (plain[one] < plain[other])


def test_all_that_is_told_of_a_user_is_sent_once(world):
    fake = Asked()
    model = LLMRanker(n_candidates=20).use_language_model(fake).fit(world.train)
    model.score(world.strangers((3, 4)), world.items[:9])
    assert len(fake.seen) == 2
    assert all(len(request.continuations) == 18 for request in fake.seen)


def test_recommending_asks_only_about_what_may_be_recommended(world):
    fake = Asked()
    model = LLMRanker(base="item_knn", n_candidates=4).use_language_model(fake).fit(world.train)
    chosen = world.items[5:10]
    frame = model.recommend(world.strangers((2,)), k=2, candidates=chosen)
    assert set(frame["item_id"]) <= set(chosen)
    texts = "".join(fake.seen[0].continuations)
    assert not [item for item in world.items if item not in chosen and item in texts]
    alone = LLMRanker(language_model="fake", n_candidates=6).fit(world.train)
    assert alone.recommend(world.strangers((2,)), k=2, candidates=chosen).height == 2
    with pytest.raises(ConfigError, match="no base, so it would ask about 17 items"):
        alone.score_catalog(world.strangers((2,)))


# ---- listwise ----


def test_a_list_is_put_in_the_order_of_the_answer(world):
    fake = Asked(by_name)
    model = LLMRanker(mode="listwise").use_language_model(fake).fit(world.train)
    frame = model.rank(world.strangers((3,)), world.items[:8])
    assert frame["item_id"].to_list() == sorted(world.items[:8])
    assert model.counts.share_legal == 1.0
    assert titles_in(fake.seen[0]) == list(world.items[:8])


def test_windows_carry_the_best_to_the_front(world):
    fake = Asked(by_name)
    model = LLMRanker(mode="listwise", window=4, stride=2).use_language_model(fake)
    model.fit(world.train)
    frame = model.rank(world.strangers((3, 5)), world.items[:10])
    first, last = sorted(world.items[:10])[:2], fake.seen[0]
    assert titles_in(last) == list(world.items[6:10])  # the back of the list comes first
    assert len(fake.seen) == 2 * 4
    for user in frame["user_id"].unique():
        own = frame.filter(frame["user_id"] == user)["item_id"].to_list()
        assert own[:2] == first
        assert sorted(own) == sorted(world.items[:10])


def test_what_cannot_be_read_keeps_the_order_of_the_base(world):
    fake = FakeLanguageModel(lambda prompt: "I would rather not.")
    model = LLMRanker(mode="listwise", base="item_knn").use_language_model(fake).fit(world.train)
    histories = world.strangers((2, 3))
    found = model.recommend(histories, k=5)
    base = ItemKNN().fit(world.train).recommend(histories, k=5)
    assert found["item_id"].to_list() == base["item_id"].to_list()
    assert model.counts.share_legal == 0.0
    assert model.reports()["llm_answers"]["unreadable"] == 2


@pytest.mark.parametrize("mode", ["pointwise", "listwise"])
def test_a_prompt_that_is_too_long_loses_its_beginning(world, mode):
    model = LLMRanker(mode=mode, max_tokens=8).use_language_model(FakeLanguageModel(context=90))
    found = model.fit(world.train).score(world.strangers((9,)), world.items[:2])
    assert np.isfinite(found).all()


# ---- failures ----


class Broken(FakeLanguageModel):
    """Fails on every request but the first of a call."""

    def generate(self, requests):
        return [*super().generate(requests[:1]), *(Generation(error="gone.") for _ in requests[1:])]

    def score(self, requests):
        return [*super().score(requests[:1]), *(Score(error="gone.") for _ in requests[1:])]


@pytest.mark.parametrize("mode", ["pointwise", "listwise"])
def test_a_failed_request_is_an_error_that_names_the_user(world, mode):
    model = LLMRanker(mode=mode).use_language_model(Broken()).fit(world.train)
    with pytest.raises(LanguageModelError, match=r"1 of 2 .* user 'stranger-1': gone\. Set a cach"):
        model.score(world.strangers((2, 3)), world.items[:3])


@pytest.mark.parametrize("mode", ["pointwise", "listwise"])
def test_a_failed_request_can_leave_the_order_of_the_base(world, mode):
    model = LLMRanker(mode=mode, base="item_knn", on_failure="keep_order", n_candidates=5)
    model.use_language_model(Broken()).fit(world.train)
    histories = world.strangers((2, 3))
    found = model.recommend(histories, k=4).filter(user_id="stranger-1")
    base = ItemKNN().fit(world.train).recommend(histories, k=4).filter(user_id="stranger-1")
    assert found["item_id"].to_list() == base["item_id"].to_list()
    assert model.counts.failed == (mode == "listwise")


# ---- what is kept, and what was seen ----


def test_answers_are_kept_under_the_user(world, tmp_path):
    path = tmp_path / "answers.sqlite"
    fake = FakeLanguageModel()
    model = LLMRanker(cache=str(path), n_candidates=20).use_language_model(fake).fit(world.train)
    twins = world.histories({"a": [1, 2], "b": [1, 2], "c": [3]})
    first = model.score(twins, world.items[:3])
    assert fake.requests == 2  # twins are asked about once
    np.testing.assert_array_equal(model.score(twins, world.items[:3]), first)
    assert fake.requests == 2
    assert ResponseCache(path).forget("b") == 1
    model.score(twins, world.items[:3])
    assert fake.requests == 3


def test_what_the_language_model_has_seen_counts(world):
    elsewhere = Origin("elsewhere", "0" * 16, "1" * 16, "valid", 5)
    model = LLMRanker().use_language_model(FakeLanguageModel(), [elsewhere]).fit(world.train)
    assert list(model.seen) == [world.train.origin, elsewhere]


def test_a_ranker_whose_language_model_knows_the_test_is_not_judged():
    from llmrec.data import leave_one_out
    from llmrec.data.simulator import simulate
    from llmrec.evaluation.harness import evaluate
    from llmrec.evaluation.tasks import load_task

    task = load_task("simulate-small")
    data = simulate("simulate:small@1").dataset
    split = leave_one_out(data)
    origin = split.train_histories(include_valid=True).origin
    told = dataclasses.replace(origin, part="test")
    model = LLMRanker(base="popularity").use_language_model(FakeLanguageModel(), [told])
    model.use_catalog(data.catalog).fit(split.train_histories())
    with pytest.raises(ProtocolError, match="up to and including its test part"):
        evaluate(model, split, task, "test", limit=2)


def test_a_base_from_a_folder(world, tmp_path):
    ItemKNN().fit(world.train).save_pretrained(tmp_path / "run" / "model")
    model = LLMRanker(language_model="fake", base=str(tmp_path / "run"), n_candidates=5)
    model.fit(world.train).save_pretrained(tmp_path / "ranker")
    expected = model.recommend(world.train, k=3)
    model.save_pretrained(tmp_path / "ranker")
    assert load(tmp_path / "ranker").recommend(world.train, k=3).equals(expected)
    other = make_world("strings", n_items=11, seed=8)
    with pytest.raises(ArtifactError, match="knows 17 items, and they are not the 11 of"):
        LLMRanker(language_model="fake", base=str(tmp_path / "run")).fit(other.train)
    with pytest.raises(ConfigError, match="trained already, so base_settings would do nothing"):
        LLMRanker(
            language_model="fake", base=str(tmp_path / "run"), base_settings={"neighbours": 3}
        ).fit(world.train)


def test_a_saved_ranker_refuses_another_language_model(world, tmp_path):
    model = LLMRanker(n_candidates=20).use_language_model(FakeLanguageModel(seed=1))
    model.fit(world.train).save_pretrained(tmp_path / "ranker")
    loaded = load(tmp_path / "ranker")
    histories = world.strangers((2,))
    with pytest.raises(ConfigError, match="no language model: name one in language_model"):
        loaded.score_catalog(histories)
    loaded.use_language_model(FakeLanguageModel(seed=2))
    with pytest.raises(ArtifactError, match="its model is hashed-2, not hashed-1; fit the ranker"):
        loaded.score_catalog(histories)
    loaded.use_language_model(FakeLanguageModel(seed=1))
    np.testing.assert_array_equal(loaded.score_catalog(histories), model.score_catalog(histories))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"base": "item_nkk"}, "neither a folder with a run .* did you mean 'item_knn'"),
        ({"language_model": "tinny:x"}, "unknown language model 'tinny:x'; did you mean 'tiny'"),
        ({"language_model": "given"}, "no language model: name one"),
        ({"stride": 30}, "stride is 30 and window 20"),
        ({"answers": ("Yes", "Yes")}, "two different texts"),
        ({"on_failure": "keep_order"}, "needs a base whose order is kept"),
        ({"base_settings": {"neighbours": 3}}, "base_settings are given, but no base"),
        ({"base": "item_knn", "base_settings": {"neighbors": 3}}, "unknown option 'neighbors'"),
        ({"template": "user_profile"}, "cannot be used for ranking"),
        ({"template": "rank_list"}, "asks about candidates, but pointwise ranking needs one"),
        ({"mode": "listwise", "template": "rank_yes_no"}, "asks about title, but listwise"),
    ],
)
def test_settings_that_do_not_fit(world, options, sentence):
    given = {"language_model": "fake", "n_candidates": 20, **options}
    with pytest.raises(ConfigError, match=sentence):
        LLMRanker(**given).fit(world.train).score(world.strangers((2,)), world.items[:2])


def test_a_recipe_makes_a_run_that_counts_its_answers(tmp_path):
    (tmp_path / "task.yaml").write_text(
        "name: tiny\nversion: 1\ndescription: tiny\ndataset: 'simulate:tiny@1'\n"
        "split: {name: leave_one_out}\nmetrics: [ndcg@10]\n"
    )
    model = {
        "name": "llm_ranker",
        "language_model": "fake",
        "mode": "listwise",
        "base": "item_knn",
        "base_settings": {"neighbours": 20},
        "n_candidates": 4,
        "max_tokens": 4,
    }
    values = {"name": "r", "task": str(tmp_path / "task.yaml"), "model": model}
    run = train(parse_recipe(values), tmp_path / "run")
    told = json.loads((run.path / "llm_answers.json").read_text())
    assert told["asked"] == run.metrics["n_users"]
    assert told["share_legal"] == 0.0
    knn = {**values, "model": {"name": "item_knn", "neighbours": 20}}
    base = train(parse_recipe(knn), tmp_path / "base")
    found, plain = (each.metrics["metrics"]["ndcg@10"]["mean"] for each in (run, base))
    assert found == pytest.approx(plain)  # gibberish leaves the order of the base
