"""What is added to a server's refusal."""

import pytest
from scripted_server import Answer, completion, scripted_server

from llmrec.inference.openai_client import OpenAICompatibleModel
from llmrec.inference.requests import Decoding, GenerateRequest

GONE = {"error": {"message": "The model `alise` does not exist.", "code": 404}}
# as vLLM 0.32 says it
NARROW = {
    "error": {"message": "Requested sample logprobs of 50, which is greater than max allowed: 20"}
}


def model_of(address):
    return OpenAICompatibleModel(address, "base", api_key_env=None, retries=0)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            Answer(body={"data": [{"id": "base"}, {"id": "alice"}]}),
            "'alise'; it serves alice, base",
        ),
        (Answer(404, "no"), "does not exist"),
        (Answer(body={"data": "?"}), "does not exist"),
    ],
)
def test_adapters_that_are_served_are_named(models, expected):
    def answer(seen, _):
        return models if seen.path.endswith("/models") else Answer(404, GONE)

    with scripted_server(answer) as (address, script):
        found = model_of(address).generate([GenerateRequest("A", adapter="alise")])[0]
        assert expected in found.error
        assert "`alise` does not exist" in found.error
        assert len(script.seen) == 2


def test_nothing_more_is_asked_about_the_base_model():
    with scripted_server(lambda *_: Answer(404, GONE)) as (address, script):
        assert "does not exist" in model_of(address).generate([GenerateRequest("A")])[0].error
        assert len(script.seen) == 1


def test_how_to_get_more_log_probabilities():
    with scripted_server(lambda *_: Answer(400, NARROW)) as (address, _):
        found = model_of(address).generate([GenerateRequest("A", logprobs=50)])[0]
        assert found.error.endswith(
            "max allowed: 20. Ask for fewer log-probabilities, or start a vLLM server with "
            "--max-logprobs 50 or more."
        )


@pytest.mark.parametrize(("seed", "sent"), [(-1, 2**63 - 1), (7, 7)])
def test_no_seed_is_sent_that_means_none(seed, sent):
    with scripted_server(lambda *_: Answer(body=completion())) as (address, script):
        request = GenerateRequest("A", Decoding(temperature=1.0, seed=seed))
        assert model_of(address).generate([request])[0].error is None
        assert script.seen[0].payload["seed"] == sent


def test_temperatures_that_vllm_changes_in_silence():
    request = GenerateRequest("A", Decoding(temperature=0.001, seed=0))
    with scripted_server(lambda *_: Answer(body=completion())) as (address, script):
        told = OpenAICompatibleModel(address, "base", api_key_env=None, extra_fields=("tokenize",))
        assert "would make 0.01 of it" in told.generate([request])[0].error
        assert script.seen == []
        assert model_of(address).generate([request])[0].error is None
