"""The client against a real server on loopback that misbehaves on purpose."""

import json
import logging
import threading

import httpx2
import numpy as np
import pytest
from scripted_server import Answer, chat, completion, scripted_server

from llmrec.contracts import LanguageModel
from llmrec.errors import ConfigError
from llmrec.inference.http_post import Patience
from llmrec.inference.openai_client import OpenAICompatibleModel
from llmrec.inference.openai_requests import VLLM_FIELDS
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def model(address, **settings):
    fast = {"timeout": 5.0, "retries": 2, "first_wait": 0.001, "most_wait": 0.01}
    return OpenAICompatibleModel(address, "m", **(fast | settings))


def ask(prompt="p", **fields):
    return GenerateRequest(prompt, **fields)


def echo_prompt(seen, before):
    return Answer(body=completion(seen.payload["prompt"].upper()))


def test_answers_come_in_the_order_of_the_requests():
    prompts = [f"prompt {i}" for i in range(40)]
    with scripted_server(echo_prompt) as (address, script):
        client = model(address, concurrency=4)
        results = client.generate([ask(prompt) for prompt in prompts])
    assert [result.text for result in results] == [prompt.upper() for prompt in prompts]
    assert {result.finish for result in results} == {"stop"}
    assert (results[0].prompt_tokens, results[0].tokens) == (3, 1)
    assert isinstance(client, LanguageModel)
    assert len(script.seen) == 40


def test_no_more_requests_are_under_way_than_allowed():
    gate = threading.Barrier(3)

    def three_at_a_time(seen, before):
        gate.wait(5)  # passes only if three are under way together
        return Answer(body=completion())

    with scripted_server(three_at_a_time) as (address, script):
        results = model(address, concurrency=3).generate([ask(f"{i}") for i in range(9)])
    assert all(result.error is None for result in results)
    assert script.most == 3


def test_everything_that_decides_the_answer_is_sent():
    decoding = Decoding(max_tokens=7, temperature=0.5, top_p=0.9, seed=4, stop=("\n",))
    with scripted_server(echo_prompt) as (address, script):
        model(address).generate([ask("p", decoding=decoding, adapter="user-7")])
    assert script.seen[0].path == "/v1/completions"
    assert script.seen[0].payload == {
        "model": "user-7",
        "prompt": "p",
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "n": 1,
        "stream": False,
        "seed": 4,
        "stop": ["\n"],
        "echo": False,
        "logprobs": 0,
    }
    headers = {name.lower(): value for name, value in script.seen[0].headers.items()}
    assert headers["authorization"] == f"Bearer {KEY}"


def test_declared_fields_are_sent_also_where_they_are_neutral():
    with scripted_server(echo_prompt) as (address, script):
        fields = [name for name in VLLM_FIELDS if name not in ("tokenize", "prompt_logprobs")]
        results = model(address, extra_fields=fields).generate(
            [ask("p", decoding=Decoding(top_k=5, ignore_eos=True)), ask("q")]
        )
    assert [result.error for result in results] == [None, None]
    sent = {seen.payload["prompt"]: seen.payload for seen in script.seen}
    wanted = {"top_k": 5, "ignore_eos": True, "min_p": 0.0, "repetition_penalty": 1.0}
    assert wanted.items() <= sent["p"].items()
    assert {"top_k": 0, "ignore_eos": False}.items() <= sent["q"].items()


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ask(decoding=Decoding(top_k=5)), "asks for top_k=5"),
        (ask(decoding=Decoding(ignore_eos=True)), "declare 'ignore_eos' in extra_fields"),
        (ask(over_long="keep_end"), "where to cut"),
    ],
)
def test_what_a_plain_server_would_ignore_is_refused(request_, why):
    with scripted_server(echo_prompt) as (address, script):
        refused, other = model(address).generate([request_, ask("fine")])
    assert why in refused.error
    assert other.text == "FINE"
    assert len(script.seen) == 1


def test_chat_wraps_the_prompt_and_reads_log_probabilities():
    top = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -3.0}]
    content = [{"token": "a", "logprob": -0.1, "top_logprobs": top}]
    with scripted_server(lambda *_: Answer(body=chat("a", content))) as (address, script):
        client = model(address, endpoint="chat")
        result, too_many = client.generate([ask("hi", logprobs=2), ask("hi", logprobs=21)])
        scored = client.score([ScoreRequest("a", ("b",))])[0]
    payload = script.seen[0].payload
    assert script.seen[0].path == "/v1/chat/completions"
    assert payload["messages"] == [{"role": "user", "content": "hi"}]
    assert (payload["logprobs"], payload["top_logprobs"]) == (True, 2)
    assert result.logprob == pytest.approx(-0.1)
    assert result.signature.fingerprint["served_model"] == "m-1"
    assert "at most 20" in too_many.error
    assert "no log-probabilities of the prompt" in scored.error


def test_a_refused_key_ends_the_call_and_is_never_shown(caplog):
    caplog.set_level(logging.DEBUG)

    def refuse_after_two(seen, before):
        if seen.payload["prompt"] in ("0", "1"):
            return Answer(body=completion("kept"))
        return Answer(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})

    with scripted_server(refuse_after_two) as (address, script):
        client = model(address, concurrency=1)
        results = client.generate([ask(str(i)) for i in range(30)])
    assert [result.text for result in results[:2]] == ["kept", "kept"]
    assert {result.error for result in results[2:]} == {
        f"{address}/completions refused access (status 401): check the API key in the environment "
        "variable OPENAI_API_KEY, and its rights."
    }
    assert len(script.seen) == 3, "nothing is sent once the key is refused"
    shown = "".join(map(str, results)) + repr(client) + json.dumps(dict(client.fingerprint))
    assert KEY not in shown + caplog.text
    assert KEY not in str(vars(client))


def test_without_a_key_none_is_sent_and_the_refusal_says_so(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with scripted_server(lambda *_: Answer(403, "no")) as (address, script):
        result = model(address).generate([ask()])[0]
        unnamed = model(address, api_key_env=None).generate([ask()])[0]
    assert "set the environment variable OPENAI_API_KEY" in result.error
    assert "api_key_env" in unnamed.error
    assert "authorization" not in {name.lower() for name in script.seen[0].headers}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
def test_what_may_pass_is_asked_again(status):
    def twice(seen, before):
        return Answer(status, "later") if before < 2 else Answer(body=completion("at last"))

    with scripted_server(twice) as (address, script):
        results = model(address).generate([ask(), ask("q")])
    assert [result.text for result in results] == ["at last"] * 2
    assert len(script.seen) == 6


def test_the_wait_that_the_server_asks_for_is_honoured_up_to_the_bound(monkeypatch):
    waits = []
    judge = Patience.wait

    def recorded(self, *about):
        waits.append(judge(self, *about))
        return 0.0

    monkeypatch.setattr(Patience, "wait", recorded)

    def busy(seen, before):
        headers = [{"Retry-After": "0.25"}, {"retry-after": "9999"}]
        return Answer(429, "", headers[before]) if before < 2 else Answer(body=completion())

    with scripted_server(busy) as (address, _):
        client = model(address, concurrency=1, most_wait=7.0)
        assert client.generate([ask()])[0].error is None
    assert waits == [0.25, 7.0]


def test_a_failure_stays_with_its_request_and_quotes_no_key():
    def one_bad(seen, before):
        if seen.payload["prompt"] == "bad":
            return Answer(500, {"error": {"message": f"broken\x1b[2J for {KEY}"}})
        return Answer(body=completion())

    with scripted_server(one_bad) as (address, _):
        bad, good = model(address).generate([ask("bad"), ask("good")])
    assert bad.error.endswith("status 500: broken [2J for [API key]. It was asked 3 times.")
    assert good.error is None


def test_a_request_that_is_wrong_is_not_asked_again():
    wrong = Answer(400, {"error": {"message": "context length is 8 tokens"}})
    with scripted_server(lambda *_: wrong) as (address, script):
        result = model(address).generate([ask()])[0]
    assert result.error.endswith("answered with status 400: context length is 8 tokens.")
    assert len(script.seen) == 1


def test_an_account_without_credit_ends_the_call():
    broke = Answer(429, {"error": {"code": "insufficient_quota", "message": "pay"}})
    with scripted_server(lambda *_: broke) as (address, script):
        results = model(address, concurrency=1).generate([ask("a"), ask("b")])
    assert all("no credit left" in result.error for result in results)
    assert len(script.seen) == 1


def test_a_redirect_is_not_followed():
    moved = Answer(307, "", {"location": "http://127.0.0.1:1/v1/completions"})
    with scripted_server(lambda *_: moved) as (address, _):
        result = model(address).generate([ask()])[0]
    assert "give the final base_url" in result.error


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(body="<!DOCTYPE html><html>login</html>"), "HTML page instead of JSON"),
        (Answer(body='{"choices": [{"text": "ha'), "half a response"),
        (Answer(body='{"choices": [', length=500), "broke off in the middle"),
        (Answer(body="[1]"), "not an object"),
        (Answer(body={"error": {"message": f"not {KEY}"}}), "an error: not [API key]."),
        (Answer(body={"object": "text_completion"}), "no choices"),
        (Answer(body={"choices": []}), "no choice 0"),
        (Answer(body={"choices": [{"finish_reason": "stop"}]}), "no text"),
        (Answer(body=completion(finish="content_filter")), "content filter"),
        (Answer(body=completion(finish=None)), "not whole"),
        (Answer(body=b"\xff\xfe{"), "not JSON"),
        (Answer(body="[" * 100_000), "not JSON"),
    ],
)
def test_an_answer_that_is_none(answer, why):
    def one_bad(seen, before):
        return answer if seen.payload["prompt"] == "bad" else Answer(body=completion("fine"))

    with scripted_server(one_bad) as (address, _):
        bad, good = model(address, retries=0).generate([ask("bad"), ask("good")])
    assert why in bad.error
    assert (bad.text, bad.finish) == ("", None)
    assert good.text == "fine"


def test_a_server_that_does_not_answer_in_time():
    never = threading.Event()

    def slow(seen, before):
        waits = never if seen.payload["prompt"] == "slow" else None
        return Answer(body=completion("fine"), before=waits)

    with scripted_server(slow) as (address, _):
        results = model(address, timeout=0.3, retries=0).generate([ask("slow"), ask("quick")])
        never.set()
    assert "did not answer within 0.3 seconds. It was asked once." in results[0].error
    assert results[1].text == "fine"


def test_nobody_there():
    result = model("http://127.0.0.1:9/v1").generate([ask()])[0]
    assert "cannot be reached" in result.error
    assert result.error.endswith("It was asked 3 times.")


def test_log_probabilities_that_are_missing_or_fewer_than_asked_for():
    five = {f"t{i}": -1.0 - i for i in range(5)}
    short = {"tokens": ["t0"], "token_logprobs": [-1.0], "top_logprobs": [five]}

    def dropped(seen, before):
        return Answer(body=completion("t0", short if seen.payload["prompt"] == "short" else None))

    requests = [ask("short", logprobs=20), ask("none", logprobs=20)]
    with scripted_server(dropped) as (address, _):
        strict = model(address).generate(requests)
        lenient = model(address, allow_missing_logprobs=True).generate(requests)
    assert "sent 5 log-probabilities at position 0, although 20" in strict[0].error
    assert "no log-probabilities although they were asked for" in strict[1].error
    record = lenient[0].signature
    assert record.topk_valid.sum() == 5
    assert (lenient[1].text, lenient[1].signature, lenient[1].error) == ("t0", None, None)


class WordServer:
    """Scores like vLLM: tokens are words, the log-probability of token i after the first is -i."""

    longest = 12

    def __init__(self, joins=True):
        self.words = ["<s>"]
        self.joins = joins  # texts that follow each other need no space

    def ids(self, text):
        for word in text.replace("\n", "/ ").split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.replace("\n", "/ ").split()]

    def __call__(self, seen, before):
        payload = seen.payload
        if seen.path == "/tokenize":
            ids = [0] * payload["add_special_tokens"] + self.ids(payload["prompt"])
            return Answer(body={"tokens": ids, "count": len(ids), "max_model_len": self.longest})
        if seen.path == "/detokenize":
            words = [self.words[i] for i in payload["tokens"]]
            return Answer(body={"prompt": ("" if self.joins else " ").join(words)})
        if "prompt_logprobs" not in payload:
            return Answer(body=completion(" ".join(self.words[i] for i in payload["prompt"])))
        choices = [
            {"index": i, "text": "x", "finish_reason": "length", "prompt_logprobs": self.rows(ids)}
            for i, ids in enumerate(payload["prompt"])
        ]
        return Answer(body={"model": "m-1", "choices": choices[::-1]})

    def rows(self, ids):
        rows = [None]
        for place in range(1, len(ids)):
            actual = {"logprob": -float(place), "rank": 7, "decoded_token": self.words[ids[place]]}
            rows.append({str(ids[place]): actual, "900": {"logprob": -0.5, "rank": 1}})
        return rows


def sent_prompts(script):
    return [seen.payload["prompt"] for seen in script.seen if seen.path == "/v1/completions"]


def vllm(address):
    return model(address, extra_fields=VLLM_FIELDS)


def test_scoring_continuations_by_the_servers_own_tokens():
    with scripted_server(WordServer()) as (address, script):
        score = vllm(address).score([ScoreRequest("a b", ("c", "d e"), logprobs=1)])[0]
    # <s> a b, then the continuation at places 3 and 4
    assert score.error is None
    assert score.prompt_tokens == 3
    assert [(text.logprob, text.tokens) for text in score.texts] == [(-3.0, 1), (-7.0, 2)]
    record = score.texts[1].signature
    assert record.kind == "input"
    assert record.tokens == ("d", "e")
    assert record.text == "d e"
    np.testing.assert_array_equal(record.topk_logprobs, [[-0.5], [-0.5]])
    np.testing.assert_array_equal(record.actual_logprob, [-3.0, -4.0])
    np.testing.assert_array_equal(record.actual_rank, [6, 6])  # the server counts from 1
    np.testing.assert_array_equal(record.topk_ids, [[900], [900]])
    assert script.seen[-1].payload["model"] == "m"


def test_scoring_a_prompt_itself_begins_where_there_is_a_prediction():
    with scripted_server(WordServer()) as (address, _):
        score = vllm(address).score([ScoreRequest("a b c")])[0]
    assert [(text.logprob, text.tokens) for text in score.texts] == [(-6.0, 3)]
    assert score.prompt_tokens == 4


def test_many_continuations_take_few_calls():
    with scripted_server(WordServer()) as (address, script):
        texts = tuple(f"w{i}" for i in range(40))
        score = vllm(address).score([ScoreRequest("a", texts)])[0]
    assert len(score.texts) == 40
    assert list(map(len, sent_prompts(script))) == [32, 8]


def test_an_over_long_prompt_loses_its_beginning_only_when_asked():
    words = " ".join(f"w{i}" for i in range(20))
    with scripted_server(WordServer()) as (address, script):
        client = vllm(address)
        score = client.score([ScoreRequest(words, ("end",), over_long="keep_end")])[0]
        short = Decoding(max_tokens=4)
        kept, refused = client.generate(
            [ask(words, over_long="keep_end", decoding=short), ask(words, decoding=short)]
        )
        full = client.score([ScoreRequest("a", (words,), over_long="keep_end")])[0]
    # of 12: one for the continuation, one for an answer that vLLM insists on, one for <s>
    assert score.prompt_tokens == 10
    assert score.texts[0].logprob == -10.0
    assert kept.text == "<s> " + " ".join(f"w{i}" for i in range(13, 20))
    assert "the prompt has 21 tokens and 4 more follow it" in refused.error
    assert "nothing of the prompt would be left" in full.error
    assert len(sent_prompts(script)) == 2


def test_the_token_that_begins_texts_comes_once_even_if_the_prompt_brings_it():
    with scripted_server(WordServer()) as (address, _):
        client = vllm(address)
        results = client.generate(
            [ask(text, decoding=Decoding(max_tokens=1)) for text in ("a b", "<s> a b", "")]
        )
    assert [result.text for result in results] == ["<s> a b", "<s> a b", "<s>"]


def test_a_continuation_gets_no_space_that_a_tokenizer_puts_before_every_text():
    with scripted_server(WordServer(joins=False)) as (address, script):
        score = vllm(address).score([ScoreRequest("a", ("c d",))])[0]
    assert score.texts[0].signature is None
    assert (score.texts[0].tokens, score.prompt_tokens) == (2, 2)
    asked = [seen.payload["prompt"] for seen in script.seen if seen.path == "/tokenize"]
    assert "\nc d" in asked  # read in the middle of a text


def test_a_text_that_no_tokenizer_can_read():
    with scripted_server(echo_prompt) as (address, _):
        bad, good = model(address).generate([ask("x\ud83d"), ask("fine")])
    assert "half of a surrogate pair" in bad.error
    assert good.text == "FINE"


def echoing(seen, before):
    """A legacy server whose tokens are single characters, each of log-probability -1."""
    choices = []
    for i, text in enumerate(seen.payload["prompt"]):
        rows = [None] + [{c: -1.0} for c in text[1:]]
        logprobs = {
            "tokens": list(text),
            "token_logprobs": [None] + [-1.0] * (len(text) - 1),
            "top_logprobs": rows,
            "text_offset": list(range(len(text))),
        }
        choices.append({"index": i, "text": text, "finish_reason": "length", "logprobs": logprobs})
    return Answer(body={"choices": choices})


def test_scoring_by_echo():
    with scripted_server(echoing) as (address, script):
        client = model(address, extra_fields=("echo",))
        score, whole = client.score(
            [ScoreRequest("abc", ("de", "f"), logprobs=1), ScoreRequest("abc")]
        )
    assert [(text.logprob, text.tokens) for text in score.texts] == [(-2.0, 2), (-1.0, 1)]
    assert (score.prompt_tokens, whole.prompt_tokens) == (3, 3)
    assert (whole.texts[0].logprob, whole.texts[0].tokens) == (-2.0, 2)
    assert score.texts[0].signature.tokens == ("d", "e")
    payload = script.seen[0].payload
    assert (payload["echo"], payload["max_tokens"], payload["temperature"]) == (True, 0, 0.0)


def test_scoring_where_it_is_not_possible():
    with scripted_server(lambda *_: Answer(body=completion("no echo"))) as (address, _):
        undeclared = model(address).score([ScoreRequest("a", ("b",))])[0]
        pretended = model(address, extra_fields=("echo",)).score([ScoreRequest("a", ("b",))])[0]
    assert "declare 'prompt_logprobs'" in undeclared.error
    assert "no log-probabilities" in pretended.error


def test_a_server_without_tokenize():
    with scripted_server(lambda *_: Answer(404, "nothing here")) as (address, _):
        assert "status 404" in vllm(address).score([ScoreRequest("a", ("b",))])[0].error
    with scripted_server(lambda *_: Answer(body={"ids": []})) as (address, _):
        assert "remove 'tokenize'" in vllm(address).score([ScoreRequest("a", ("b",))])[0].error


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"base_url": "127.0.0.1:80"}, "no http or https address"),
        ({"base_url": f"http://user:{KEY}@127.0.0.1/v1"}, "not shown"),
        ({"base_url": f"http://127.0.0.1/v1?key={KEY}"}, "not shown"),
        ({"base_url": f"http://127.0.0.1/{KEY}/v1"}, "looks like an API key"),
        ({"base_url": "http://127.0.0.1:port/v1"}, "no http or https address"),
        ({"model": KEY}, "looks like an API key"),
        ({"model": " "}, "model is empty"),
        ({"api_key_env": KEY}, "may be the key itself"),
        ({"api_key_env": "sk_live_0123456789"}, "may be the key itself"),
        ({"endpoint": "responses"}, "'completions' or 'chat'"),
        ({"mode": "raw"}, "expected one of raw_logprobs"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"most_wait": float("inf")}, "most_wait is inf"),
        ({"extra_fields": ["topk"]}, "did you mean 'top_k'?"),
        ({"extra_fields": ["prompt_logprobs"]}, "without 'tokenize'"),
    ],
)
def test_settings_that_cannot_be(settings, why):
    arguments = {"base_url": "http://127.0.0.1:1/v1", "model": "m"} | settings
    with pytest.raises(ConfigError) as caught:
        OpenAICompatibleModel(**arguments)
    assert why in str(caught.value)
    assert KEY not in str(caught.value)
    assert "sk_live" not in str(caught.value)


@pytest.mark.parametrize("where", ["base_url", "model"])
def test_the_environments_key_in_the_wrong_place(monkeypatch, where):
    monkeypatch.setenv("OPENAI_API_KEY", "0123456789abcdef")  # no prefix that would give it away
    arguments = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    arguments[where] += "/0123456789abcdef"
    with pytest.raises(ConfigError, match=f"{where} contains the API key") as caught:
        OpenAICompatibleModel(**arguments)
    assert "0123456789abcdef" not in str(caught.value)


def test_a_key_that_cannot_be_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret\nx")
    with pytest.raises(ConfigError, match="holds a blank") as caught:
        model("http://127.0.0.1:1/v1")
    assert "secret" not in str(caught.value)


def test_a_trailing_line_break_of_the_key_is_no_part_of_it(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with scripted_server(echo_prompt) as (address, script):
        model(address).generate([ask()])
    headers = {name.lower(): value for name, value in script.seen[0].headers.items()}
    assert headers["authorization"] == f"Bearer {KEY}"


def test_no_requests_no_connection():
    assert model("http://127.0.0.1:9/v1").generate([]) == []


def test_an_interruption_ends_the_call(monkeypatch):
    asked = []

    def interrupt(self, url, content):
        asked.append(url)
        raise KeyboardInterrupt

    monkeypatch.setattr("llmrec.inference.http_post.JsonPoster._exchange", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model("http://127.0.0.1:9/v1", concurrency=1).generate([ask(str(i)) for i in range(50)])
    assert len(asked) < 50


def test_the_http_library_keeps_the_key_out_of_its_own_texts():
    client = httpx2.Client(headers={"authorization": f"Bearer {KEY}"})
    assert KEY not in repr(client.headers)
