"""From a split to a folder: what is in it, who can read it, and what it has seen."""

import json
import math

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_films import SMALL, make_data
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrec.data import leave_one_out
from llmrec.errors import ArtifactError, ConfigError, ProtocolError, TrainingError
from llmrec.evaluation.harness import evaluate
from llmrec.evaluation.protocol import Judging, Protocol
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.opening import open_language_model, seen_by
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.seen import read_seen, require_usable, seen_of
from llmrec.tiny_lm import making
from llmrec.tiny_lm.config import PRESETS, make_config
from llmrec.tiny_lm.corpus import held_out_texts
from llmrec.tiny_lm.events import held_out_events, training_events
from llmrec.tiny_lm.judging import judge
from llmrec.tiny_lm.making import train_tiny
from llmrec.tiny_lm.packing import token_stream
from llmrec.training.trainer import Trainer


def weights_of(folder):
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_the_folder_is_a_plain_llama(model):
    config = json.loads((model.folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["head_dim"], config["hidden_size"], config["tie_word_embeddings"]) == (
        32,
        32,
        True,
    )
    assert config["max_position_embeddings"] == SMALL["context"]
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    assert {tokenizer.bos_token_id, tokenizer.eos_token_id} == {
        config["bos_token_id"],
        config["eos_token_id"],
    }


def test_it_answers_like_any_other_model(model):
    language_model = HFLanguageModel(model.folder, device="cpu")
    (answer,) = language_model.generate([GenerateRequest("The user", Decoding(max_tokens=5))])
    assert answer.error is None
    assert answer.tokens > 0
    (score,) = language_model.score([ScoreRequest("Answer:", (" Yes", " No"), logprobs=3)])
    assert all(math.isfinite(text.logprob) for text in score.texts)


def test_peft_adapts_it_and_the_backend_serves_the_adapter(model, tmp_path):
    base = AutoModelForCausalLM.from_pretrained(model.folder)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    adapted.save_pretrained(tmp_path / "lora")
    opened = open_language_model(model.folder, adapters={"a": tmp_path / "lora"}, device="cpu")
    plain, changed = opened.score(
        [ScoreRequest("Good Film"), ScoreRequest("Good Film", adapter="a")]
    )
    assert changed.error is None
    assert plain.texts[0].logprob != changed.texts[0].logprob


def test_perplexity_is_that_of_a_plain_pass(model, split):
    from llmrec.tiny_lm.corpus import held_out_texts
    from llmrec.tiny_lm.events import held_out_events, training_events

    texts = held_out_texts(training_events(split, 4.0), held_out_events(split, 4.0, 100, 0))
    network = AutoModelForCausalLM.from_pretrained(model.folder).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    total, count = 0.0, 0
    for before, line in texts:
        end = tokenizer(line, add_special_tokens=False)["input_ids"]
        ids = tokenizer(before)["input_ids"]
        cut = max(0, len(ids) + len(end) - SMALL["context"])
        ids = [ids[0], *ids[1 + cut :]]
        logits = network(torch.tensor([ids + end])).logits[0, len(ids) - 1 : -1].double()
        total += float(logits.log_softmax(-1).gather(1, torch.tensor(end)[:, None]).sum())
        count += len(end)
    found = model.metrics["held_out"]["texts"]
    assert found["tokens"] == count
    assert found["perplexity"] == pytest.approx(math.exp(-total / count), rel=1e-4)
    assert found["perplexity"] < found["unigram"]


def test_figures_stand_in_the_folder_and_on_the_card(model):
    metrics = json.loads((model.folder / "metrics.json").read_text())
    assert metrics == model.metrics
    assert metrics["held_out"]["like"]["questions"] == 24
    # in this world a title says whether it is liked; the average of 5 events per item does too
    assert metrics["held_out"]["like"]["auc_item_average"] > 0.9
    card = (model.folder / "README.md").read_text()
    assert f"**{metrics['held_out']['texts']['perplexity']:.2f}**" in card
    assert "part, newest event 1000" in card.replace("\n", " ")
    log = [json.loads(line) for line in (model.folder / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2, 3, 4]
    assert log[1]["loss"] < log[0]["loss"]


def test_it_says_what_it_has_seen(model, split):
    (origin,) = seen_of(model.folder)
    train = split.train_histories()
    assert origin == train.origin
    assert origin.newest_event == int(train.times.max())
    assert seen_by(model.folder) == (origin,)
    record = read_seen(model.folder)
    assert record["about"]["settings"]["context"] == SMALL["context"]
    require_usable("tiny:films", [origin], split, "valid")
    later = leave_one_out(make_data(events=5))
    with pytest.raises(ProtocolError, match="language model tiny:films"):
        require_usable("tiny:films", [origin], later, "test")


class AsksModel:
    """A recommender as far as an evaluation looks: it has seen what its language model has seen."""

    def __init__(self, folder, split):
        self.vocabulary = split.dataset.item_vocabulary
        self.seen = seen_by(folder)

    def score_catalog(self, histories):
        return np.zeros((len(histories), len(self.vocabulary)), dtype=np.float32)


def test_an_evaluation_refuses_who_asks_a_model_that_has_seen_too_much(model, split):
    judging = Judging(metrics=("ndcg@10",))
    judged = evaluate(AsksModel(model.folder, split), split, Protocol.of(split, judging, "valid"))
    assert len(judged.per_user) == 24
    later = leave_one_out(make_data(events=5))
    with pytest.raises(ProtocolError, match="trained on films under another split"):
        evaluate(AsksModel(model.folder, later), later, Protocol.of(later, judging, "test"))


def test_the_same_again_is_not_trained_and_another_is_refused(model, split, small_config):
    again = train_tiny(split, small_config, folder=model.folder)
    assert (again.trained, again.metrics) == (False, model.metrics)
    other = make_config("test", **{**SMALL, "layers": 2})
    with pytest.raises(ArtifactError, match="made with other settings"):
        train_tiny(split, other, folder=model.folder)


def test_the_same_seed_gives_the_same_bits(model, split, small_config, tmp_path):
    again = train_tiny(split, small_config, folder=tmp_path / "again")
    first, second = weights_of(model.folder), weights_of(again.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "again.checkpoints").exists()


def test_a_training_that_was_killed_goes_on_to_the_same_bits(
    model, split, small_config, tmp_path, monkeypatch
):
    step = making.NextTokenLoss.forward
    calls = []

    def dies(self, batch):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return step(self, batch)

    target = tmp_path / "model"
    monkeypatch.setattr(making.NextTokenLoss, "forward", dies)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(split, small_config, folder=target)
    assert not target.exists()
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"model\.checkpoints holds work that was broken off"):
        train_tiny(split, small_config, folder=target)
    calls.clear()
    monkeypatch.setattr(
        making.NextTokenLoss, "forward", lambda self, batch: calls.append(1) or step(self, batch)
    )
    done = train_tiny(split, small_config, folder=target, resume=True)
    steps = [json.loads(row)["step"] for row in (target / "log.jsonl").read_text().splitlines()]
    assert len(calls) < steps[-1]
    first, second = weights_of(model.folder), weights_of(done.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_checkpoints_of_another_model_are_not_gone_on_with(
    split, small_config, tmp_path, monkeypatch
):
    def stop(self, *_):
        fit(self, *_)
        raise KeyboardInterrupt

    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(split, small_config, folder=tmp_path / "m")
    monkeypatch.undo()
    other = make_config("test", **{**SMALL, "intermediate_size": 32})
    with pytest.raises(TrainingError, match="intermediate_size 64 -> 32"):
        train_tiny(split, other, folder=tmp_path / "m", resume=True)


def test_something_else_in_the_way_stays(split, small_config, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not a directory that llmrec wrote"):
        train_tiny(split, small_config, folder=tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": 100}, "hidden_size is 100; expected a multiple of 32"),
        ({"layers": 0}, "layers is 0: Input should be greater than or equal to 1"),
        ({"corpus": {"history": 3}}, "unknown key 'corpus.history'; did you mean 'histories'?"),
    ],
)
def test_settings_out_of_range_are_named(changes, sentence):
    with pytest.raises(ConfigError) as caught:
        make_config("small", **changes)
    assert sentence in str(caught.value)


def test_unknown_presets_are_named():
    with pytest.raises(ConfigError, match="did you mean 'small'"):
        make_config("smal")
    assert all(make_config(name) for name in PRESETS)


def test_order_only_data_is_enough(small_config, tmp_path):
    split = leave_one_out(make_data(rated=False))
    made = train_tiny(split, small_config, folder=tmp_path / "m")
    assert "like" not in made.metrics["held_out"]
    assert made.metrics["held_out"]["choose"]["share_yes"] == pytest.approx(0.5, abs=0.1)
    assert np.isfinite(made.metrics["held_out"]["texts"]["trigram"])


def test_events_that_are_too_long_to_tell_are_counted(model, split):
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    events, held_out = training_events(split, 4.0), held_out_events(split, 4.0, 100, 0)
    ends = [end for _, end in held_out_texts(events, held_out)]
    sizes = sorted(len(tokenizer(end, add_special_tokens=False)["input_ids"]) for end in ends)
    context = sizes[len(sizes) // 2] + 2  # the longer half does not fit
    stream = token_stream(tokenizer, ends)
    language_model = HFLanguageModel(model.folder, device="cpu")
    found = judge(language_model, tokenizer, events, held_out, stream, context)
    assert found["texts"]["left_out"] == sum(size + 2 > context for size in sizes) > 0
    assert found["texts"]["texts"] + found["texts"]["left_out"] == len(ends)
    assert "texts" not in judge(language_model, tokenizer, events, held_out, stream, 4)
