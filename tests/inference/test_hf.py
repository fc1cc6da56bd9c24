"""Models run by transformers, against transformers itself: one plain pass per text."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference import hf_forward, hf_scoring
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.testing.tiny_llama import EOS, VOCAB_SIZE, save_tiny_llama, token_of

PROMPTS = ["The film", "A", "Once upon a time in a small town there was", "12 + 30 = "]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("base"), seed=3)


@pytest.fixture(scope="module")
def model(folder):
    return HFLanguageModel(folder, device="cpu")


@pytest.fixture(scope="module")
def oracle(folder):
    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    network.generation_config = GenerationConfig()  # else generate mixes in the checkpoint's
    return network, AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def plain_logits(oracle, prompt, text=""):
    """Logits of a whole text in one pass, without cache, mask or padding."""
    network, tokenizer = oracle
    ids = tokenizer(prompt)["input_ids"] + tokenizer(text, add_special_tokens=False)["input_ids"]
    return network(torch.tensor([ids]), use_cache=False).logits[0].double(), ids


def test_greedy_answers_are_those_of_generate(model, oracle):
    network, tokenizer = oracle
    plain = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=EOS, pad_token_id=EOS)
    requests = [GenerateRequest(prompt, Decoding(max_tokens=20)) for prompt in PROMPTS]
    for prompt, found in zip(PROMPTS, model.generate(requests), strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        expected = network.generate(ids, generation_config=plain)[0, ids.shape[1] :]
        assert found.text == tokenizer.decode(expected, skip_special_tokens=True)
        assert found.tokens == len(expected)
        assert found.prompt_tokens == ids.shape[1]


def test_scores_are_those_of_a_plain_pass(model, oracle):
    texts = ("!", " was very good", " é", "x" * 30, "A", "in the end")
    requests = [ScoreRequest(prompt, texts, logprobs=6) for prompt in PROMPTS]
    for prompt, score in zip(PROMPTS, model.score(requests), strict=True):
        for text, found in zip(texts, score.texts, strict=True):
            logits, ids = plain_logits(oracle, prompt, text)
            begin = score.prompt_tokens
            rows, actual = logits[begin - 1 : -1].log_softmax(-1), torch.tensor(ids[begin:])
            own = rows.gather(1, actual[:, None])[:, 0]
            assert found.tokens == len(actual)
            assert found.logprob == pytest.approx(float(own.sum()), abs=1e-4 * len(actual))
            record = found.signature
            np.testing.assert_allclose(record.actual_logprob, own, atol=1e-4)
            np.testing.assert_allclose(record.topk_logprobs, rows.topk(6).values, atol=1e-4)
            np.testing.assert_allclose(record.row_mean, rows.mean(1), atol=1e-4)
            np.testing.assert_allclose(record.row_std, rows.std(1), atol=1e-4)
            rank = (rows > own[:, None]).sum(1)
            np.testing.assert_array_equal(record.actual_rank, rank)


def test_prompt_scores_are_those_of_a_plain_pass(model, oracle):
    found = model.score([ScoreRequest(prompt, logprobs=2) for prompt in PROMPTS])
    for prompt, score in zip(PROMPTS, found, strict=True):
        logits, ids = plain_logits(oracle, prompt)
        own = logits[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
        assert score.texts[0].logprob == pytest.approx(float(own.sum()), abs=1e-3)
        assert score.texts[0].tokens == len(prompt)
        assert score.texts[0].signature.text == prompt


def test_long_prompts_are_read_in_parts(model, monkeypatch):
    requests = [ScoreRequest(prompt, logprobs=2) for prompt in PROMPTS]
    whole = model.score(requests)
    monkeypatch.setattr(hf_scoring, "LOGITS_AT_ONCE", 4 * 7 * VOCAB_SIZE)
    for found, expected in zip(model.score(requests), whole, strict=True):
        assert found.texts[0].logprob == pytest.approx(expected.texts[0].logprob, abs=1e-3)


@pytest.mark.parametrize("packed", [4, 40, 10_000])
def test_packing_continuations_changes_no_number(model, monkeypatch, packed):
    texts = tuple("abcdefgh"[: 1 + n % 8] for n in range(30))
    requests = [ScoreRequest(prompt, texts, logprobs=2) for prompt in PROMPTS]
    with monkeypatch.context() as patch:
        patch.setattr(hf_forward.Forward, "can_pack", lambda *_: False)
        apart = model.score(requests)
    monkeypatch.setattr(hf_scoring, "_PACKED", packed)
    for found, expected in zip(model.score(requests), apart, strict=True):
        np.testing.assert_allclose(
            [text.logprob for text in found.texts],
            [text.logprob for text in expected.texts],
            atol=1e-4,
        )


def test_one_token_continuations_need_no_second_pass(model, monkeypatch):
    passes = []
    plain = hf_forward.Forward.__call__

    def counted(self, ids, *args, **options):
        passes.append(tuple(ids.shape))
        return plain(self, ids, *args, **options)

    monkeypatch.setattr(hf_forward.Forward, "__call__", counted)
    model.score([ScoreRequest("Is it good? ", ("Y", "N", "?"))])
    assert passes == [(1, 13)]
    passes.clear()
    model.score([ScoreRequest("Is it good? ", tuple(f"yes {n}" for n in range(10)))])
    assert passes == [(1, 13), (1, 40)]


def test_answers_end_with_any_token_the_config_names(tmp_path, model):
    decoding = Decoding(max_tokens=40, temperature=1.0, seed=1)
    plain = model.generate([GenerateRequest("A", decoding, logprobs=1)])[0]
    end = plain.text[7]
    ending = HFLanguageModel(save_tiny_llama(tmp_path, seed=3, ends=end), device="cpu")
    found = ending.generate([GenerateRequest("A", decoding, logprobs=1)])[0]
    assert found.text == plain.text[: plain.text.index(end)]
    assert found.finish == "stop"
    assert found.tokens == len(found.text) + 1
    assert found.signature.has_eos
    assert found.signature.topk_ids.shape == (found.tokens, 1)
    ignoring = Decoding(max_tokens=40, temperature=1.0, seed=1, ignore_eos=True)
    through = ending.generate([GenerateRequest("A", ignoring)])[0]
    assert (through.text, through.finish) == (plain.text, "length")


def test_rows_leave_the_batch_when_they_end(model, monkeypatch):
    rows = []
    plain = hf_forward.Forward.__call__

    def counted(self, ids, *args, **options):
        rows.append(len(ids))
        return plain(self, ids, *args, **options)

    monkeypatch.setattr(hf_forward.Forward, "__call__", counted)
    requests = [
        GenerateRequest("A", Decoding(max_tokens=size, ignore_eos=True)) for size in (1, 1, 1, 9)
    ]
    model.generate(requests)
    assert rows == [4] + [1] * 8


def test_special_tokens_of_a_prompt_are_not_doubled(model):
    plain, begun = model.score([ScoreRequest("ab", ("c",)), ScoreRequest("<bos>ab", ("c",))])
    assert begun.prompt_tokens == plain.prompt_tokens == 3
    assert begun.texts[0].logprob == pytest.approx(plain.texts[0].logprob, abs=1e-5)


def test_damaged_weights_are_an_error_of_the_request(folder):
    broken = HFLanguageModel(folder, device="cpu")
    with torch.no_grad():
        broken._forward._model.lm_head.weight[token_of("e")] = torch.nan
    answer = broken.generate([GenerateRequest("A", logprobs=2)])[0]
    score = broken.score([ScoreRequest("A", ("b",))])[0]
    for error in (answer.error, score.error):
        assert "not finite" in error
    assert (answer.text, answer.signature, score.texts) == ("", None, ())


def test_fingerprint_follows_the_weights(folder, tmp_path, model):
    again = HFLanguageModel(folder, device="cpu")
    other = HFLanguageModel(save_tiny_llama(tmp_path, seed=4), device="cpu")
    assert again.fingerprint == model.fingerprint
    assert other.fingerprint["weights"] != model.fingerprint["weights"]
    assert other.fingerprint["tokenizer"] == model.fingerprint["tokenizer"]
    half = HFLanguageModel(folder, device="cpu", dtype="bfloat16")
    assert half.fingerprint["dtype"] == "bfloat16"
    assert str(folder.parent) not in json.dumps(model.fingerprint)


# ---- what a user can get wrong ----


def test_no_such_model(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match=r"'no-such/model' cannot be loaded .*no such folder"):
        HFLanguageModel("no-such/model", device="cpu")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_named(folder, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / file).unlink()
    looked_for = "*.safetensors" if file == "model.safetensors" else file
    with pytest.raises(ArtifactError) as caught:
        HFLanguageModel(copy, device="cpu")
    assert looked_for in str(caught.value)
    assert str(copy) in str(caught.value)


def test_damaged_file(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        HFLanguageModel(copy, device="cpu")


def test_checkpoint_without_some_weights(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"1 tensors are missing .*layers\.1\.mlp\.up_proj"):
        HFLanguageModel(copy, device="cpu")


def test_arguments_out_of_range(folder):
    with pytest.raises(ConfigError, match="did you mean 'float32'"):
        HFLanguageModel(folder, device="cpu", dtype="float23")


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "device is 'cuda', but this machine has 0 usable GPUs; use cpu"),
        ("cuda:3", "'cuda:3', but this machine has 0 usable GPUs"),
        ("gpu", "device is 'gpu'; expected cpu, cuda or cuda:NUMBER"),
    ],
)
def test_a_device_that_is_not_there(folder, monkeypatch, device, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=sentence):
        HFLanguageModel(folder, device=device)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match=r"there is no folder .*away to read a model from"):
        HFLanguageModel(tmp_path / "away")
    with pytest.raises(ConfigError, match="token_budget is 0"):
        HFLanguageModel(folder, device="cpu", token_budget=0)


def test_a_model_in_memory_answers_as_its_folder_does(model, oracle):
    network, tokenizer = oracle
    held = HFLanguageModel.of_network(network, tokenizer, "base")
    request = ScoreRequest("The film", ("was", " good"), logprobs=2)
    here, there = held.score([request])[0], model.score([request])[0]
    assert [text.logprob for text in here.texts] == [text.logprob for text in there.texts]
    assert held.fingerprint["weights"] == model.fingerprint["weights"]
    assert held.fingerprint["model"] == "base"
    with pytest.raises(ConfigError, match="token_budget is 0"):
        HFLanguageModel.of_network(network, tokenizer, token_budget=0)
