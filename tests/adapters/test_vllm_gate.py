"""Before a server: each user reaches their own adapter and nothing else. vLLM is not needed."""

import asyncio
import itertools
import json
import logging
import shutil
import sys
import threading
import time
import tomllib
import types
from pathlib import Path

import pytest
from small_gated import base_model
from small_store import draw, experts, store

from llmrec.adapters import vllm_resolver
from llmrec.adapters.access import Tokens
from llmrec.adapters.experts import BaseModelId
from llmrec.adapters.store import AdapterStore
from llmrec.adapters.vllm_gate import OwnAdapterOnly
from llmrec.adapters.vllm_resolver import (
    BASE,
    KEY,
    LEASE,
    STORE,
    StoreResolver,
    opened_store,
    register,
)
from llmrec.adapters.vllm_server import arguments, prepare
from llmrec.errors import ArtifactError, ConfigError

SECRET = "k" * 32
TOKENS = Tokens(SECRET)


class Server:
    """Stands for vLLM: keeps what reaches it."""

    def __init__(self, folder):
        self.reached = []
        environment = {STORE: str(folder), KEY: SECRET, BASE: "base"}
        self.gate = OwnAdapterOnly(self, environment)

    async def __call__(self, scope, receive, send):
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        headers = dict(scope["headers"])
        assert int(headers.get(b"content-length", len(body))) == len(body)
        self.reached.append((scope["path"], json.loads(body) if body else None))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    def ask(
        self, path="/v1/completions", body=None, token=None, method="POST", headers=(), raw=None
    ):
        """Status and answer."""
        content = json.dumps({"prompt": "x", **(body or {})}).encode() if raw is None else raw
        given = [(b"authorization", f"Bearer {token}".encode())] if token else []
        scope = {"type": "http", "path": path, "method": method, "headers": [*given, *headers]}
        parts = [content[:3], content[3:]]
        sent = []

        async def receive():
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message):
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def served(tmp_path):
    opened = store(tmp_path)
    opened.put(["ann", "bob"], draw(2))
    vllm_resolver._opened.cache_clear()
    yield opened, Server(opened.folder)
    vllm_resolver._opened.cache_clear()
    StoreResolver.guarded = False


@pytest.mark.parametrize("asked", [{"model": "own"}, {}, {"model": None}, {"model": ""}])
def test_a_user_gets_their_own_adapter(served, asked):
    opened, server = served
    for user in ("ann", "bob"):
        assert server.ask(body=asked, token=TOKENS.of_user(user))[0] == 200
        name = opened.name_of(opened.gate(user).gate)
        assert server.reached[-1] == ("/v1/completions", {"prompt": "x", "model": name})
        assert (opened.files.folder / name).is_dir()
        assert opened.files.in_use([name]) == [name]  # leased while it is served


def test_a_user_does_not_get_anothers_adapter(served):
    opened, server = served
    bobs = opened.adapter("bob").name
    status, answer = server.ask(body={"model": bobs}, token=TOKENS.of_user("ann"))
    assert status == 403
    assert "own adapter" in answer["error"]["message"]
    repeated = f'{{"model": "own", "prompt": "x", "model": "{bobs}"}}'.encode()
    assert server.ask(raw=repeated, token=TOKENS.of_user("ann"))[0] == 403
    assert server.reached == []
    turned = f'{{"model": "{bobs}", "prompt": "x", "model": "own"}}'.encode()
    server.ask(raw=turned, token=TOKENS.of_user("ann"))
    assert server.reached[0][1]["model"] == opened.adapter("ann").name
    own = opened.adapter("ann").name
    assert server.ask(body={"model": own}, token=TOKENS.of_user("ann"))[0] == 200


def test_the_base_model_is_everybodys_and_strangers_get_a_fallback(served):
    opened, server = served
    assert server.ask(body={"model": "base"}, token=TOKENS.of_user("ann"))[0] == 200
    assert server.reached[-1][1]["model"] == "base"
    assert server.ask(token=TOKENS.of_user("nobody"))[0] == 200
    assert server.reached[-1][1]["model"] == opened.adapter("somebody else").name


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"token": "forged.token"}, 401),
        ({"headers": [(b"authorization", b"Basic x")]}, 401),
        ({"token": TOKENS.of_user("ann"), "headers": [(b"Authorization", b"Bearer x")]}, 401),
        ({"token": TOKENS.of_user("ann"), "raw": b"no json"}, 400),
        ({"token": TOKENS.of_user("ann"), "raw": b"[1]"}, 400),
        ({"token": TOKENS.of_user("ann"), "raw": b"[" * 100_000}, 400),
        ({"token": TOKENS.of_user("ann"), "raw": b'{"a":' * 100_000}, 400),
        ({"token": TOKENS.of_user("ann"), "raw": b"x" * (9 << 20)}, 413),
        ({"token": TOKENS.of_user("ann"), "body": {"model": ["own"]}}, 403),
        ({"token": TOKENS.of_user("ann"), "body": {"model": "../base"}}, 403),
        ({"token": TOKENS.of_user("ann"), "path": "/v1/load_lora_adapter"}, 403),
        ({"token": TOKENS.of_user("ann"), "path": "/v1/unload_lora_adapter"}, 403),
        ({"token": TOKENS.of_user("ann"), "path": "/metrics", "method": "GET"}, 403),
        ({"token": TOKENS.of_user("ann"), "path": "/v1/completions/../models"}, 403),
        ({"path": "/v1/models", "method": "GET"}, 401),
    ],
)
def test_everything_else_is_refused(served, given, status):
    _, server = served
    found, answer = server.ask(**given)
    assert found == status
    assert answer["error"]["code"] == status
    assert server.reached == []


@pytest.mark.parametrize("depth", range(100, 2000, 100))
def test_whatever_can_be_read_can_be_written_or_is_refused(served, depth):
    _, server = served
    raw = b'{"model": "own", "deep": ' + b"[" * depth + b"]" * depth + b"}"
    status, _ = server.ask(raw=raw, token=TOKENS.of_user("ann"))
    assert (status, len(server.reached)) in ((200, 1), (400, 0))


@pytest.mark.parametrize("lease", ["abc", "-1", "nan", "inf", ""])
def test_a_lease_that_is_no_number_is_refused_at_the_start(served, lease):
    opened, server = served
    environment = {STORE: str(opened.folder), KEY: SECRET, LEASE: lease}
    with pytest.raises(ConfigError, match="LLMREC_ADAPTER_LEASE is"):
        OwnAdapterOnly(server, environment)
    with pytest.raises(ConfigError, match="LLMREC_ADAPTER_LEASE is"):
        prepare(opened, environment)
    assert prepare(opened, {**environment, LEASE: "30"})


def test_threads_that_ask_at_once_open_the_store_once(served, monkeypatch):
    opened, _ = served
    made, both = [], threading.Barrier(2)

    def slow(folder):
        made.append(folder)
        time.sleep(0.05)
        return opened

    monkeypatch.setattr("llmrec.adapters.store.AdapterStore", slow)

    def ask():
        both.wait()
        opened_store(opened.folder)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [opened.folder]


def test_models_are_listed_without_others(served):
    opened, server = served
    opened.adapter("bob")
    _, answer = server.ask("/v1/models", method="GET", token=TOKENS.of_user("ann"))
    assert [model["id"] for model in answer["data"]] == ["own", "base"]
    assert server.ask("/health", method="GET")[0] == 200
    assert server.reached == [("/health", None)]


def test_the_operator_may_do_everything(served):
    opened, server = served
    token, name = TOKENS.of_operator(), opened.adapter("ann").name
    assert server.ask("/v1/unload_lora_adapter", {"lora_name": "x"}, token)[0] == 200
    opened.files.remove([name])
    assert server.ask(body={"model": name}, token=token)[0] == 200
    assert (opened.files.folder / name).is_dir()
    assert server.ask(body={"model": "lora-unknown"}, token=token)[0] == 404
    assert server.ask(body={"model": "own"}, token=token)[0] == 400


def test_the_operator_reads_what_was_served(served, vllm):
    opened, server = served
    resolver = StoreResolver(opened.folder)

    def ask(user):
        assert server.ask(token=TOKENS.of_user(user))[0] == 200
        name = server.reached[-1][1]["model"]
        assert asyncio.run(resolver.resolve_lora("base", name))[0] == name

    for user in ("ann", "ann", "nobody", "ann"):
        ask(user)
    stats = {"path": "/adapters/stats", "method": "GET"}
    reached = len(server.reached)
    status, told = server.ask(**stats, token=TOKENS.of_operator())
    assert status == 200
    assert (told["made"], told["found"], told["hit_rate"]) == (2, 2, 0.5)
    assert (told["served_user"], told["served_prior"], told["fallbacks"]) == (3, 1, 1)
    assert told["fallback_rate"] == 0.25
    assert told["users"] == 2
    for token, refused in ((TOKENS.of_user("ann"), 403), ("forged.token", 401), (None, 401)):
        assert server.ask(**stats, token=token)[0] == refused
    assert len(server.reached) == reached  # vLLM is not asked


def test_an_adapter_that_changes_or_is_forgotten_while_it_is_served(served):
    opened, server = served
    token = TOKENS.of_user("ann")
    server.ask(token=token)
    first = server.reached[-1][1]["model"]
    AdapterStore(opened.folder).put(["ann"], draw(1, 5))
    server.ask(token=token)
    second = server.reached[-1][1]["model"]
    assert second == opened.name_of(draw(1, 5)[0]) != first
    shutil.rmtree(opened.files.folder / second)
    server.ask(token=token)
    assert (opened.files.folder / second).is_dir()
    forgotten = AdapterStore(opened.folder).forget("ann")
    assert set(forgotten.in_use) == {first, second}  # the operator unloads these
    server.ask(token=token)
    assert server.reached[-1][1]["model"] not in (first, second)
    assert server.ask(body={"model": second}, token=token)[0] == 403


def test_a_full_budget_is_told(served):
    opened, server = served
    opened_store(opened.folder).limit(byte_budget=10)
    status, answer = server.ask(token=TOKENS.of_user("ann"))
    assert status == 503
    assert "raise the budget" in answer["error"]["message"]


def test_websockets_are_closed_and_the_lifespan_passes(served):
    _, server = served
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(server.gate({"type": "websocket", "path": "/v1/realtime"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    passed = []

    async def app(scope, *_):
        passed.append(scope["type"])

    environment = {STORE: "x", KEY: SECRET}
    asyncio.run(OwnAdapterOnly(app, environment)({"type": "lifespan"}, None, None))
    assert passed == ["lifespan"]


def test_a_gate_without_key_or_store_does_not_start(monkeypatch):
    monkeypatch.delenv(STORE, raising=False)
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ConfigError, match="set LLMREC_ADAPTER_STORE and LLMREC_ADAPTER_KEY"):
        OwnAdapterOnly(None)
    with pytest.raises(ConfigError, match="at least 32"):
        OwnAdapterOnly(None, {STORE: "x", KEY: "short"})


# ---- the resolver, with vLLM's two classes replaced ----


@pytest.fixture
def vllm(monkeypatch):
    class Registry:
        def get_supported_resolvers(self):
            return self.resolvers.keys()

        def register_resolver(self, name, resolver):
            self.resolvers[name] = resolver

    for name in ("vllm", "vllm.lora", "vllm.lora.request", "vllm.lora.resolver"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["vllm.lora.request"].LoRARequest = lambda *given: given
    registry = Registry()
    registry.resolvers = {}
    sys.modules["vllm.lora.resolver"].LoRAResolverRegistry = registry
    return registry


def test_resolving(served, vllm, monkeypatch, caplog):
    opened, _ = served
    monkeypatch.setenv(STORE, str(opened.folder))
    register()
    register()  # vLLM may load plug-ins more than once
    (resolver,) = vllm.resolvers.values()
    adapter = opened.adapter("ann")
    opened.files.remove([adapter.name])
    found = asyncio.run(resolver.resolve_lora("base", adapter.name))
    assert found == (adapter.name, adapter.number, str(adapter.path.resolve()))
    assert adapter.path.is_dir()
    assert opened.files.in_use([adapter.name]) == [adapter.name]
    with caplog.at_level(logging.WARNING):
        for name in ("lora-never", "../../etc/passwd", "ann", "own"):
            assert asyncio.run(resolver.resolve_lora("base", name)) is None
    assert caplog.text.count("is void") == 4


def test_nothing_is_resolved_without_the_gate(served, vllm, caplog):
    opened, _ = served
    StoreResolver.guarded = False
    with caplog.at_level(logging.ERROR):
        name = opened.adapter("ann").name
        assert asyncio.run(StoreResolver(opened.folder).resolve_lora("base", name)) is None
    assert "--middleware llmrec.adapters.vllm_gate.OwnAdapterOnly" in caplog.text


def test_the_plug_in_does_nothing_without_a_store(vllm, monkeypatch):
    monkeypatch.delenv(STORE, raising=False)
    register()
    assert vllm.resolvers == {}


def test_the_entry_point_is_the_function():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    named = project["project"]["entry-points"]["vllm.general_plugins"]["llmrec_adapters"]
    module, _, function = named.partition(":")
    assert getattr(sys.modules[module], function) is vllm_resolver.register


# ---- starting a server ----


@pytest.fixture
def base(tmp_path):
    base_model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_folder_is_known_by_its_weights(base, tmp_path):
    assert BaseModelId.of_folder(base).fingerprint == BaseModelId.of(base_model()).fingerprint
    base_model().save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert BaseModelId.of_folder(tmp_path / "parts").fingerprint == (
        BaseModelId.of(base_model()).fingerprint
    )
    with pytest.raises(ArtifactError, match="holds no model"):
        BaseModelId.of_folder(tmp_path)
    (base / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="is damaged"):
        BaseModelId.of_folder(base)


def test_the_command_line_of_the_server(served, base):
    opened, _ = served
    words = arguments(opened, base, port=81, slots=8, more=("--dtype", "float32"))
    pairs = dict(itertools.pairwise(words))
    assert (pairs["--host"], pairs["--port"], pairs["--max-loras"]) == ("127.0.0.1", "81", "8")
    assert pairs["--max-lora-rank"] == "8"  # rank 3 fits into vLLM's second smallest room
    assert pairs["--middleware"] == "llmrec.adapters.vllm_gate.OwnAdapterOnly"
    place = words.index("--lora-target-modules")
    assert words[place + 1 : place + 3] == ["q_proj", "v_proj"]
    assert pairs["--dtype"] == "float32"
    environment = prepare(opened, {KEY: SECRET})
    assert environment[STORE] == str(opened.folder.resolve())
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert KEY not in environment


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_addresses_that_others_reach_must_be_meant(served, base, host):
    opened, _ = served
    with pytest.raises(ConfigError, match="can be reached by others"):
        arguments(opened, base, host=host)
    assert host in arguments(opened, base, host=host, public=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_addresses(served, base, host):
    assert host in arguments(served[0], base, host=host)


@pytest.mark.parametrize(
    ("word", "option"),
    [
        ("--middleware", "--middleware"),
        ("--host=0.0.0.0", "--host"),
        ("--lora_modules", "--lora-modules"),
        ("--root-path", "--root-path"),
        ("--model", "--model"),
        ("--tokenizer=x", "--tokenizer"),
        ("--config", "--config"),
        ("--load-format", "--load-format"),
        ("--hf-overrides.rope_theta", "--hf-overrides"),
        ("--no-enable-lora", "--no-enable-lora"),
        ("--hos", "--host"),
        ("--lora_modu=x", "--lora-modules"),
        ("--middlewar", "--middleware"),
        ("--tok", "--tokenizer"),
    ],
)
def test_options_that_would_undo_the_gate_or_a_check(served, base, word, option):
    with pytest.raises(ConfigError, match=f"{option},? (is set by this|would|could) .*; "):
        arguments(served[0], base, more=("--dtype", "float32", word, "x"))


def test_other_options_are_left_to_whoever_starts_the_server(served, base):
    more = ("--seed", "1", "--max-cpu-loras", "64", "-q", "fp8", "--model-impl=vllm",
            "--revision", "x", "--config-format", "hf", "--trust-remote-code")  # fmt: skip
    assert tuple(arguments(served[0], base, more=more)[-len(more) :]) == more


def test_a_base_model_with_other_weights(served, tmp_path):
    base_model(seed=9).save_pretrained(tmp_path / "other")
    with pytest.raises(ArtifactError, match="trained on the base model 'tests/small'"):
        arguments(served[0], tmp_path / "other")


def test_what_vllm_cannot_serve(tmp_path, base):
    many = AdapterStore.create(tmp_path / "many", experts("sum_products", experts=200))
    with pytest.raises(ConfigError, match="rank 600, and vLLM serves at most 512"):
        arguments(many, base)
    head = AdapterStore.create(tmp_path / "head", experts(target_modules=("q_proj", "lm_head")))
    with pytest.raises(ConfigError, match="last layer"):
        arguments(head, base)
    with pytest.raises(ConfigError, match="set LLMREC_ADAPTER_KEY"):
        prepare(many, {})
