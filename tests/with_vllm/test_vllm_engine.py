"""vLLM's offline engine: what is its own, and what a user can get wrong."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from llmrec.errors import ConfigError
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.vllm_engine import VLLMLanguageModel
from llmrec.inference.vllm_params import FORCED_TOKENS, continuing, forcing
from llmrec.testing.tiny_llama import save_tiny_adapter, token_of

pytestmark = pytest.mark.vllm

WEIGHTS = "adapter_model.safetensors"


def scores(model, name=None):
    found = model.score([ScoreRequest("The film", (" was", "!"), adapter=name)])[0]
    assert found.error is None
    return [text.logprob for text in found.texts]


def test_continuations_share_their_prompt(engine, monkeypatch):
    outputs = []
    run = engine._engine.run
    monkeypatch.setattr(
        engine._engine, "run", lambda work: (outputs.extend(found := run(work)), found)[1]
    )
    texts = tuple(f" ending {n}" for n in range(30))
    engine.score([ScoreRequest("Shared by thirty texts: " * 6, texts)])
    cached = [output.num_cached_tokens for output in outputs]
    assert len(cached) == 30
    assert min(cached[1:]) >= 128  # of 145, in blocks of 32


def test_each_request_has_its_own_width(engine):
    widths = [0, 3, 258, 1]
    requests = [GenerateRequest("The film", Decoding(max_tokens=4), logprobs=k) for k in widths]
    found = engine.generate(requests)
    assert [0 if one.signature is None else one.signature.k for one in found] == widths
    np.testing.assert_allclose([one.logprob for one in found], found[0].logprob, atol=1e-4)


def test_answers_end_with_any_token_the_config_names(plain_engine):
    decodings = [Decoding(max_tokens=40, temperature=1.0, seed=seed) for seed in range(40)]
    through = [
        Decoding(max_tokens=40, temperature=1.0, seed=seed, ignore_eos=True) for seed in range(40)
    ]
    ended = plain_engine.generate([GenerateRequest("A", each, logprobs=1) for each in decodings])
    plain = plain_engine.generate([GenerateRequest("A", each) for each in through])
    seen = 0
    for short, long in zip(ended, plain, strict=True):
        if "~" not in long.text[1:] or long.text.startswith("~"):
            continue
        seen += 1
        assert short.text == long.text[: long.text.index("~")]
        assert short.finish == "stop"
        assert short.signature.has_eos
        assert len(short.signature) == short.tokens
        assert short.signature.tokens[-1] == "~"
        assert (long.finish, long.tokens) == ("length", 40)
    assert seen > 0


def test_an_interrupted_call_leaves_nothing_behind(engine, monkeypatch):
    requests = [GenerateRequest(f"{n}:", Decoding(max_tokens=30)) for n in range(5)]
    with monkeypatch.context() as patch:
        inner = engine._engine._llm.llm_engine
        steps, step = [], inner.step

        def interrupted():
            steps.append(1)
            if len(steps) == 4:
                raise KeyboardInterrupt
            return step()

        patch.setattr(inner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(requests)
    found = engine.generate(requests[:2])
    assert [answer.tokens for answer in found] == [30, 30]
    assert engine.generate(requests[:2]) == found


def test_what_vllm_refuses_stays_with_its_request(engine, monkeypatch):
    from llmrec.inference import vllm_engine

    make = vllm_engine.continuing

    def broken(decoding, logprobs, eos):
        params = make(decoding, logprobs, eos)
        if decoding.max_tokens == 7:
            params.stop_token_ids = [10**6]
        return params

    monkeypatch.setattr(vllm_engine, "continuing", broken)
    requests = [GenerateRequest("A", Decoding(max_tokens=size)) for size in (3, 7, 5)]
    found = engine.generate(requests)
    assert [answer.tokens for answer in found] == [3, 0, 5]
    assert "vLLM refuses the request" in found[1].error


def test_fingerprint(engine, plain_engine, reference, base):
    there, here = engine.fingerprint, reference.fingerprint
    assert (there["backend"], there["backend_version"]) == ("vllm", "0.32.0")
    assert there["tokenizer"] == here["tokenizer"]
    assert there["dtype"] == here["dtype"] == "float32"
    assert there["weights"] != plain_engine.fingerprint["weights"]
    assert str(base.parent) not in str(there)


# ---- adapters ----


def test_adapter_added_later(engine, base, tmp_path):
    folder = save_tiny_adapter(
        tmp_path / "dave", base, seed=9, rank=8, targets=("gate_proj", "o_proj")
    )
    engine.add_adapter("dave@7", folder)
    assert engine.adapters[-1] == "dave@7"
    expected = scores(HFLanguageModel(base, device="cpu", adapters={"dave@7": folder}), "dave@7")
    np.testing.assert_allclose(scores(engine, "dave@7"), expected, atol=1e-3)


def test_more_adapters_than_fit_side_by_side(engine, base, tmp_path):
    folders = {
        f"user{n}": save_tiny_adapter(tmp_path / f"{n}", base, seed=20 + n) for n in range(12)
    }
    for name, folder in folders.items():
        engine.add_adapter(name, folder)
    requests = [ScoreRequest("The film", ("!",), adapter=name) for name in folders]
    found = [score.texts[0].logprob for score in engine.score(requests)]
    expected = HFLanguageModel(base, device="cpu", adapters=folders).score(requests)
    np.testing.assert_allclose(found, [s.texts[0].logprob for s in expected], atol=1e-3)


def test_adapter_whose_files_change(engine, adapters, tmp_path):
    folder = tmp_path / "erin"
    shutil.copytree(adapters["carol"], folder)
    engine.add_adapter("erin", folder)
    before = scores(engine, "erin")
    weights = load_file(folder / WEIGHTS)
    save_file({key: 2 * weight for key, weight in weights.items()}, folder / WEIGHTS)
    requests = [GenerateRequest("A", Decoding(max_tokens=2), adapter=n) for n in ("erin", "carol")]
    changed, other = engine.generate(requests)
    assert "changed or went since it was added" in changed.error
    assert other.error is None
    with pytest.raises(ConfigError, match="'erin' already, and a name never changes its meaning"):
        engine.add_adapter("erin", folder)
    engine.add_adapter("erin@2", folder)
    assert abs(np.subtract(scores(engine, "erin@2"), before)).max() > 0.01


def test_no_room_for_adapters(plain_engine, engine, base, tmp_path):
    head = tmp_path / "head"
    save_tiny_adapter(head, base, seed=1, targets=("lm_head",))
    _without_base_weights(head)
    with pytest.raises(ConfigError, match=r"changes lm_head, and this engine was started with"):
        engine.add_adapter("head", head)
    large = save_tiny_adapter(tmp_path / "large", base, seed=1, rank=9)
    with pytest.raises(ConfigError, match=r"has rank 9, .* room for 8; make .* lora_rank=9"):
        engine.add_adapter("large", large)
    with pytest.raises(ConfigError, match=r"without room for adapters.*lora_rank=9"):
        plain_engine.add_adapter("large", large, any_base=True)


def test_adapters_on_the_last_layer(base, tmp_path):
    """Several of them crash vLLM 0.32 at prompt_logprobs, so these are not asked for."""
    folders = {
        "head": save_tiny_adapter(tmp_path / "h", base, seed=3, targets=("lm_head", "up_proj")),
        "plain": save_tiny_adapter(tmp_path / "p", base, seed=4, targets=("q_proj",)),
    }
    _without_base_weights(folders["head"])
    requests = [
        ScoreRequest(prompt * 4, texts, logprobs=3, adapter=name)
        for prompt in ("The film", "A")
        for texts in (None, (" was", "!"))
        for name in ("head", "plain", None)
    ]
    expected = HFLanguageModel(base, device="cpu", adapters=folders).score(requests)
    with VLLMLanguageModel(base, adapters=folders, cache_gib=0.25) as model:
        for here, there in zip(model.score(requests), expected, strict=True):
            assert here.error is None
            for found, one in zip(here.texts, there.texts, strict=True):
                assert found.tokens == one.tokens
                assert found.logprob == pytest.approx(one.logprob, abs=1e-3)
                np.testing.assert_allclose(
                    found.signature.topk_logprobs, one.signature.topk_logprobs, atol=1e-3
                )
    with pytest.raises(ConfigError, match="was closed"):
        model.score(requests)


# ---- parameters ----


def test_every_parameter_is_the_requests(engine):
    decoding = Decoding(5, 0.5, 0.25, 12, seed=-1, stop=("x",))
    params = continuing(decoding, 3, eos={1, token_of("~")})
    told = (params.max_tokens, params.temperature, params.top_p, params.top_k, params.seed)
    assert told == (5, 0.5, 0.25, 12, 2**63 - 1)
    assert (params.stop, params.stop_token_ids, params.logprobs) == (["x"], [1, token_of("~")], 3)
    neutral = (params.min_p, params.repetition_penalty, params.frequency_penalty, params.min_tokens)
    assert neutral == (0.0, 1.0, 0.0, 0)
    through = continuing(Decoding(5, ignore_eos=True), 0, eos={1})
    assert (through.stop_token_ids, through.ignore_eos) == ([], True)
    given = forcing([4, 5, 6], 2, prompt_logprobs=True)
    assert (given.max_tokens, given.prompt_logprobs) == (3, 2)
    assert given.extra_args == {FORCED_TOKENS: [4, 5, 6]}


def _without_base_weights(folder):
    """Leave out the weights of the base model that peft writes beside adapters of a last layer."""
    weights = load_file(folder / WEIGHTS)
    kept = {key: weight for key, weight in weights.items() if ".lora_" in key}
    assert len(kept) < len(weights)
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
