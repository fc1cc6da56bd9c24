"""A causal language model with semantic IDs, on a random tiny Llama; nothing is downloaded."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    MistralConfig,
)

from llmrec.data import leave_one_out
from llmrec.data.histories import Histories
from llmrec.data.ragged import row_of_each
from llmrec.data.simulator import simulate
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.hf_loading import load_model
from llmrec.recommenders.onerec.alignment.losses import PairLogProbs, preference_losses
from llmrec.recommenders.onerec.beam import beam_search
from llmrec.recommenders.onerec.language import OneRecLM
from llmrec.recommenders.onerec.language.network import LanguageNetwork
from llmrec.recommenders.onerec.language.steps import LanguageSteps
from llmrec.recommenders.onerec.language.texts import Prompts
from llmrec.recommenders.onerec.language.tokens import add_codes, code_names, code_tokens
from llmrec.recommenders.onerec.language.weights import from_arrays
from llmrec.recommenders.onerec.trie import Trie
from llmrec.testing.tiny_llama import VOCAB_SIZE, save_tiny_llama

SIZES = (3, 2, 4)
ITEMS = 8
CODES = np.array(list(itertools.product(*map(range, SIZES))), dtype=np.int32)[::3]
TITLES = ["red <b_0> pen", "ink", "", "</s> paper", "cup", "lamp", "desk", "chair"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def parts(folder):
    torch.manual_seed(0)
    model, tokens = load_model(str(folder), "cpu", "float32")
    first = add_codes(model, tokens.tokenizer, SIZES)
    with torch.no_grad():  # so that codes are as likely as letters, and differ
        model.lm_head.weight[first:] = 0.3 * torch.randn(sum(SIZES), 64)
        model.model.embed_tokens.weight[first:].normal_()
    return model, tokens, Prompts(tokens, code_tokens(CODES, SIZES, first), SIZES), first


def by_hand(model, prompts, history, items):
    """Log-probability of a list, one forward pass over one text, no mask and no cache."""
    written = torch.cat([prompts.prefix, prompts.table[[*history, *items]].flatten()])
    found = model(input_ids=written[None]).logits[0].log_softmax(-1)
    place = torch.arange(len(written) - 3 * len(items), len(written))
    return found[place - 1, written[place]].sum()


def test_every_code_has_a_token_of_its_own_behind_the_others(parts):
    model, tokens, prompts, first = parts
    names = code_names(SIZES)
    assert tokens.tokenizer.convert_tokens_to_ids(names) == list(range(first, first + sum(SIZES)))
    assert first == VOCAB_SIZE
    assert model.get_input_embeddings().weight.shape[0] >= first + sum(SIZES)
    assert prompts.table[1].tolist() == [first, first + 3, first + 5]
    assert tokens.tokenizer("<a_2><b_1>", add_special_tokens=False)["input_ids"] == [
        first + 2,
        first + 4,
    ]


def test_a_model_that_has_codes_already_is_refused(parts):
    model, tokens, _, _ = parts
    with pytest.raises(ConfigError, match="has tokens like <a_0> already"):
        add_codes(model, tokens.tokenizer, SIZES)


@pytest.mark.parametrize("items", [1, 2])
def test_the_search_finds_what_forward_passes_over_all_lists_say(parts, items):
    model, _, prompts, first = parts
    trie = Trie.build(CODES, SIZES)
    histories = torch.tensor([[1, 2, 3], [5, 0, 0]])
    steps = LanguageSteps(model, prompts, first, SIZES)
    width = ITEMS * (ITEMS - 1) if items == 2 else ITEMS
    found = beam_search(steps, steps.begin(histories), trie, users=2, width=width, items=items)
    lists = list(itertools.permutations(range(1, ITEMS + 1), items))
    with torch.inference_mode():
        for user, history in enumerate([[1, 2, 3], [5]]):
            scores = {one: by_hand(model, prompts, history, one).item() for one in lists}
            best = sorted(scores, key=scores.get, reverse=True)
            mine = [tuple(row) for row in (found.leaves[user] + 1).tolist()]
            assert mine == best
            expected = torch.tensor([scores[one] for one in best])
            torch.testing.assert_close(found.scores[user], expected, atol=1e-4, rtol=1e-4)


def test_log_probabilities_of_lists_do_not_depend_on_padding(parts):
    model, _, prompts, _ = parts
    network = LanguageNetwork(model)
    history = torch.tensor([[1, 2, 3], [5, 0, 0]])
    lists = torch.tensor([[4, 6], [7, 8]])
    found = network.list_log_probabilities(prompts, history, lists)
    alone = [by_hand(model, prompts, [1, 2, 3], [4, 6]), by_hand(model, prompts, [5], [7, 8])]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_a_step_against_a_preference_loss_widens_the_margin(folder):
    torch.manual_seed(1)
    model, tokens = load_model(str(folder), "cpu", "float32")
    first = add_codes(model, tokens.tokenizer, SIZES)
    prompts = Prompts(tokens, code_tokens(CODES, SIZES, first), SIZES)
    network = LanguageNetwork(model)
    history = torch.tensor([[1, 2], [3, 0]])
    chosen, rejected = torch.tensor([[4, 5], [6, 7]]), torch.tensor([[8, 1], [2, 4]])
    codes = torch.full((2,), 6)

    def pairs(reference):
        own = [network.list_log_probabilities(prompts, history, one) for one in (chosen, rejected)]
        kept = [one.detach() for one in own] if reference is None else reference
        return PairLogProbs(*own, *kept, codes, codes), kept

    before, reference = pairs(None)
    losses = preference_losses(before, "dpo")
    assert losses.tolist() == pytest.approx([np.log(2)] * 2, abs=1e-6)
    losses.sum().backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight -= 0.01 * weight.grad
    after, _ = pairs(reference)
    assert preference_losses(after, "dpo").sum() < losses.sum()


def test_sequences_carry_loss_on_every_item_but_the_first_once(parts):
    _, _, prompts, _ = parts
    vocabulary = Vocabulary(list(range(1, ITEMS + 1)), "item")
    train = Histories.from_lists([[1, 2, 3, 4], [5], [6, 7]], vocabulary)
    rows = prompts.sequences(train, longest=2)
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    taught = batch.tokens[batch.learn].view(-1, 3).tolist()
    expected = [prompts.table[item].tolist() for item in (2, 3, 4, 7)]
    assert sorted(taught) == sorted(expected)
    assert batch.n_targets == 12
    assert (batch.tokens[:, : len(prompts.prefix)] == prompts.prefix).all()


def test_a_title_cannot_bring_codes_of_its_own(parts):
    _, tokens, prompts, first = parts
    rows = prompts.titles(TITLES)
    assert len(rows) == 2 * (ITEMS - 1)
    batch = rows.batch(np.arange(len(rows)), np.random.default_rng(0))
    assert ((batch.tokens >= first).sum(1) == 3).all()
    asked, told = batch.tokens[: ITEMS - 1], batch.tokens[ITEMS - 1 :]
    assert asked[0][batch.learn[0]].tolist() == prompts.table[1].tolist()
    answer = told[0][batch.learn[ITEMS - 1]].tolist()
    assert tokens.decode(answer) == " red < b_0> pen"
    assert answer[-1] == tokens.tokenizer.eos_token_id


def told(prompts, tokens, rows, room=None):
    """Prompts and answers of told histories, as text."""
    vocabulary = Vocabulary(list(range(1, ITEMS + 1)), "item")
    train = Histories.from_lists(rows, vocabulary)
    found = prompts.told_histories(train, TITLES, 2, room)
    if not len(found):
        return []
    batch = found.batch(np.arange(len(found)), np.random.default_rng(0))
    asked = (batch.mask > 0) & ~batch.learn
    pairs = zip(batch.tokens, asked, batch.learn, strict=True)
    return [(tokens.decode(t[a].tolist()), t[b].tolist()) for t, a, b in pairs]


def test_histories_are_told_by_titles_and_by_ids(parts):
    _, tokens, prompts, _ = parts
    by_titles, by_ids = told(prompts, tokens, [[2, 5, 6]])
    assert by_titles[0].endswith("oldest first: ink; cup\nNext item:")
    assert by_titles[1] == prompts.table[6].tolist()
    assert by_ids[0].endswith("\nNext title:")
    written = tokens.decode([*prompts.table[2].tolist(), *prompts.table[5].tolist()])
    assert written.replace(" ", "") in by_ids[0].replace(" ", "")
    assert tokens.decode(by_ids[1][:-1]) == " lamp"
    assert by_ids[1][-1] == tokens.tokenizer.eos_token_id
    assert "oldest first: red < b_0> pen\nNext" in told(prompts, tokens, [[1, 2]])[0][0]


def test_what_has_no_title_or_no_room_is_not_told(parts):
    _, tokens, prompts, _ = parts
    for without in ([2, 5, 3], [3, 4], [5]):  # item 3 has no title
        assert told(prompts, tokens, [without]) == []
    by_titles, _ = told(prompts, tokens, [[3, 2, 5]])
    assert by_titles[0].endswith("oldest first: ink\nNext item:")
    whole = tokens.prompts([told(prompts, tokens, [[2, 5, 6]])[0][0]])[0]
    by_titles, *_ = told(prompts, tokens, [[2, 5, 6]], len(whole) + 2)  # the ID has three tokens
    assert by_titles[0].endswith("oldest first: cup\nNext item:")
    assert told(prompts, tokens, [[2, 5, 6]], 4) == []


@pytest.fixture(scope="module")
def data():
    return simulate("simulate:tiny@1").dataset


@pytest.fixture(scope="module")
def fitted(data, folder):
    model = OneRecLM(
        language_model=str(folder),
        tokenizer={"codes": 8},
        text_encoder="tfidf:16",
        history=5,
        beam=20,
        training={"epochs": 1, "batch_size": 64, "learning_rate": 1e-3},
    )
    return model.use_catalog(data.catalog).fit(leave_one_out(data).train_histories())


def test_told_histories_are_learnt_beside_the_rest(data, folder):
    options = {
        "language_model": str(folder), "tokenizer": {"codes": 8}, "text_encoder": "tfidf:16",
        "history": 5, "training": {"epochs": 1, "batch_size": 64},
    }  # fmt: skip
    train = leave_one_out(data).train_histories()
    plain, more = (OneRecLM(**options, text_history=n).use_catalog(data.catalog) for n in (0, 3))
    rows = [len(model.fit(train).training_rows(train)) for model in (plain, more)]
    assert rows[1] > rows[0] + len(train)
    assert more.recommend(train.user_ids[:2], k=3).height == 6


def test_recommendations_are_items_that_were_not_seen(fitted, data):
    cases = leave_one_out(data).cases("test")
    found = fitted.recommend(cases.histories, k=5)
    assert found["rank"].to_list() == [1, 2, 3, 4, 5] * len(cases)
    owners = cases.histories.user_ids.gather(row_of_each(cases.histories.offsets))
    seen = set(zip(owners, fitted.vocabulary.decode(cases.histories.items), strict=True))
    assert not seen & set(zip(found["user_id"], found["item_id"], strict=True))


def test_a_seen_item_does_not_come_back_for_sharing_its_id(data, folder):
    model = OneRecLM(
        language_model=str(folder),
        tokenizer={"codes": 4, "levels": 2, "collisions": "allow"},  # sixteen IDs for eighty items
        text_encoder="tfidf:16",
        history=5,
        training={"epochs": 1, "batch_size": 64},
    )
    model.use_catalog(data.catalog).fit(leave_one_out(data).train_histories())
    histories = leave_one_out(data).cases("test").histories.block(0, 4)
    k = len(model.vocabulary) - int(histories.lengths.max())
    found = model.recommend(histories, k=k)
    for row, user in enumerate(histories.user_ids):
        chosen = found.filter(found["user_id"] == user)["item_id"]
        assert not set(chosen) & set(model.vocabulary.decode(histories[row]))
        assert chosen.n_unique() == k


def test_candidates_are_scored_exactly(fitted, data):
    histories = leave_one_out(data).cases("test").histories.block(0, 3)
    codes = np.array([[1, 2, 3]] * 3, dtype=np.int32)
    found = fitted._score_codes(histories, codes)
    model, prompts = fitted.network.model, fitted.prompts
    with torch.inference_mode():
        expected = [
            [by_hand(model, prompts, histories[row][-5:], [code]).item() for code in (1, 2, 3)]
            for row in range(3)
        ]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_saved_model_recommends_the_same(fitted, data, tmp_path):
    histories = leave_one_out(data).cases("test").histories.block(0, 4)
    fitted.save_pretrained(tmp_path / "model")
    again = OneRecLM.from_pretrained(tmp_path / "model")
    assert again.recommend(histories, k=3).equals(fitted.recommend(histories, k=3))


def test_a_model_whose_outputs_are_its_inputs_is_kept_and_resumed(folder, data, tmp_path):
    tied = shutil.copytree(folder, tmp_path / "tied")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tied)
    options = {
        "language_model": str(tied),
        "tokenizer": {"codes": 8},
        "text_encoder": "tfidf:16",
        "history": 5,
        "titles": False,
        "checkpoints": tmp_path / "checkpoints",
    }
    train = leave_one_out(data).train_histories()
    training = {"batch_size": 64, "learning_rate": 1e-3}
    OneRecLM(**options, training={**training, "epochs": 1}).use_catalog(data.catalog).fit(train)
    further = OneRecLM(**options, training={**training, "epochs": 2}, resume=True)
    further.use_catalog(data.catalog).fit(train)
    whole = OneRecLM(**{**options, "checkpoints": None}, training={**training, "epochs": 2})
    whole.use_catalog(data.catalog).fit(train)
    found = further.network.model
    assert found.lm_head.weight is found.model.embed_tokens.weight
    for mine, theirs in zip(further.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_histories_longer_than_the_model_reads_are_refused(folder, data):
    model = OneRecLM(
        language_model=str(folder), tokenizer={"codes": 8}, text_encoder="tfidf:16", history=200
    )
    with pytest.raises(ConfigError, match="reads at most 256; lower history"):
        model.use_catalog(data.catalog).fit(leave_one_out(data).train_histories())


SHAPE = {"vocab_size": VOCAB_SIZE, "hidden_size": 16}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SLIDING = {**SHAPE, **LAYERS, "num_key_value_heads": 1, "head_dim": 8}
LOCAL = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (MistralConfig(**SLIDING, sliding_window=40), r"look back only 40; lower history\.$"),
        (Gemma2Config(**SLIDING, sliding_window=40), r"look back only 40; lower history\.$"),
        (MistralConfig(**SLIDING, sliding_window=64), None),
        (Gemma2Config(**SLIDING, sliding_window=64), None),
        (GPT2Config(vocab_size=VOCAB_SIZE, n_embd=16, n_layer=2, n_head=2), None),
        (GPTNeoConfig(**SHAPE, **LOCAL, window_size=8), "another log-probability in the search"),
        (BloomConfig(**SHAPE, n_layer=2, n_head=2), "BloomForCausalLM, which cannot be searched"),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_kinds_that_cannot_be_searched_are_refused_before_training(
    folder, data, tmp_path, monkeypatch, config, sentence
):
    torch.manual_seed(0)
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    kind = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # far from uniform, so that what is seen makes a difference
        for weight in kind.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
    kind.save_pretrained(tmp_path / "model")
    model = OneRecLM(
        language_model=str(tmp_path / "model"), tokenizer={"codes": 8}, text_encoder="tfidf:16",
        history=8, session=3, titles=False,
    )  # fmt: skip
    monkeypatch.setattr(model, "_train", lambda *_, **made_of: None)
    train = leave_one_out(data).train_histories()
    if sentence is None:
        assert model.use_catalog(data.catalog).fit(train).is_fitted
    else:
        with pytest.raises(ConfigError, match=sentence):
            model.use_catalog(data.catalog).fit(train)


def test_a_model_on_a_server_cannot_be_trained(data):
    model = OneRecLM(language_model="fake", tokenizer={"codes": 8}, text_encoder="tfidf:16")
    with pytest.raises(ConfigError, match="does not run in this process"):
        model.use_catalog(data.catalog).fit(leave_one_out(data).train_histories())


def test_a_mistyped_metric_is_refused_before_anything_is_opened(data):
    split = leave_one_out(data)
    model = OneRecLM(language_model="fake", training={"metric": "ndgc@10"})
    with pytest.raises(ConfigError, match=r"^onerec_lm: training.metric: unknown metric"):
        model.fit(split.train_histories(), split.cases("valid"))


def test_arrays_that_hold_no_language_model_are_refused():
    with pytest.raises(ArtifactError, match="saved language model cannot be read"):
        from_arrays({"weight": np.zeros(2)})


def test_the_model_of_the_folder_is_not_changed(folder, fitted):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.get_input_embeddings().weight.shape[0] == VOCAB_SIZE
