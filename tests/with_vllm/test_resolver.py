"""A vLLM server over an adapter store: 200 users share 8 slots, each with their own adapter."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from resolving import TOKENS, ask, filled_store, gated_model, store_server

from llmrec.adapters.store import AdapterStore
from llmrec.testing import tiny_llama

pytestmark = pytest.mark.vllm

USERS, SAME, K = 200, 1e-3, 20


@pytest.fixture(scope="module")
def world(base, tmp_path_factory):
    """Address, store, and log-probabilities ``[users, vocabulary]`` by the fused path."""
    folder = tmp_path_factory.mktemp("resolver")
    model = gated_model(base)
    store, states = filled_store(folder / "store", model, USERS)
    prompts = torch.randint(
        2, tiny_llama.VOCAB_SIZE, (USERS, 12), generator=torch.Generator().manual_seed(4)
    )
    with torch.inference_mode():
        logits = model(input_ids=prompts, gate_input=states).logits[:, -1]
        with model.using(None) as plain:
            bare = plain(input_ids=prompts).logits[:, -1].log_softmax(-1).numpy()
    found = logits.log_softmax(-1).numpy()
    with store_server(store.folder, base, folder / "log") as address:
        yield address, store, prompts.tolist(), found, bare


def first_token(address, prompt, user, model="own", token=None):
    """Log-probabilities of the most probable next tokens, by token."""
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": K,
            "return_tokens_as_token_ids": True}  # fmt: skip
    body |= {} if model is None else {"model": model}
    status, answer = ask(
        address, "/v1/completions", body, TOKENS.of_user(user) if token is None else token
    )
    assert status == 200, answer
    (listed,) = answer["choices"][0]["logprobs"]["top_logprobs"]
    return {int(name.removeprefix("token_id:")): value for name, value in listed.items()}


def far(found, expected):
    return max(abs(value - expected[token]) for token, value in found.items())


def test_every_user_gets_what_the_fused_path_gives(world):
    address, store, prompts, expected, bare = world
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(np.arange(USERS), 2))  # each twice, far apart

    def work(user):
        return first_token(address, prompts[user], f"u{user}")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(work, order))
    differences = [far(found, expected[user]) for user, found in zip(order, answers, strict=True)]
    assert max(differences) < SAME
    # the test can tell users apart: somebody else's adapter, or none, is far from this
    others = [far(found, expected[user - 1]) for user, found in zip(order, answers, strict=True)]
    assert np.median(others) > 20 * SAME
    assert np.median([far(f, bare[u]) for u, f in zip(order, answers, strict=True)]) > 20 * SAME
    assert len(AdapterStore(store.folder).files.names()) == USERS


def test_nobody_reaches_anothers_adapter(world):
    address, store, prompts, _, _ = world
    other = store.adapter("u1").name
    body = {"prompt": prompts[0], "max_tokens": 1, "model": other}
    assert ask(address, "/v1/completions", body, TOKENS.of_user("u0"))[0] == 403
    assert ask(address, "/v1/completions", body)[0] == 401
    assert ask(address, "/v1/completions", body, "forged.token")[0] == 401
    unload = {"lora_name": other}
    assert ask(address, "/v1/unload_lora_adapter", unload, TOKENS.of_user("u0"))[0] == 403
    status, answer = ask(address, "/v1/models", token=TOKENS.of_user("u0"))
    assert (status, [each["id"] for each in answer["data"]]) == (200, ["own", "base"])


def test_the_base_model_and_names_for_the_operator(world):
    address, store, prompts, expected, bare = world
    assert far(first_token(address, prompts[3], "u3", "base"), bare[3]) < SAME
    name = store.adapter("u3").name
    found = first_token(address, prompts[3], None, name, TOKENS.of_operator())
    assert far(found, expected[3]) < SAME
    body = {"prompt": prompts[3], "max_tokens": 1, "model": "lora-" + "0" * 40}
    assert ask(address, "/v1/completions", body, TOKENS.of_operator())[0] == 404


def test_new_gates_take_effect_without_a_restart(world, base):
    """The same prompt again: keys and values of the earlier adapter must not be reused."""
    address, store, prompts, _, _ = world
    model = gated_model(base)
    states = torch.from_numpy(np.random.default_rng(9).normal(size=(1, 6)).astype(np.float32) * 2)
    prompt = prompts[5] * 8  # several blocks of the prefix cache
    before = first_token(address, prompt, "u5")
    store.put_states(["u5"], states.numpy(), "refresh")
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt]), gate_input=states).logits[0, -1]
    expected = logits.log_softmax(-1).numpy()
    assert far(before, expected) > 20 * SAME
    assert far(first_token(address, prompt, "u5"), expected) < SAME


def test_evicted_and_forgotten_adapters_while_the_server_runs(world):
    address, store, prompts, expected, _ = world
    first_token(address, prompts[7], "u7")
    store.files.remove([store.adapter("u7").name])  # as another process's budget would
    for user in range(20, 60):  # so that vLLM has to read u7's files again
        first_token(address, prompts[user], f"u{user}")
    assert far(first_token(address, prompts[7], "u7"), expected[7]) < SAME
    name = store.adapter("u7").name
    assert store.forget("u7").in_use == (name,)
    fallback = first_token(address, prompts[7], "u7")
    assert far(fallback, expected[7]) > 20 * SAME
    body = {"prompt": prompts[7], "max_tokens": 1, "model": name}
    assert ask(address, "/v1/completions", body, TOKENS.of_user("u7"))[0] == 403
    unload = ask(address, "/v1/unload_lora_adapter", {"lora_name": name}, TOKENS.of_operator())
    assert unload[0] == 200
    # the server answers everybody else as before
    assert far(first_token(address, prompts[8], "u8"), expected[8]) < SAME


def test_the_operator_reads_what_the_server_has_served(world):
    address, _, prompts, _, _ = world

    def told():
        status, found = ask(address, "/adapters/stats", token=TOKENS.of_operator())
        assert status == 200
        return found

    assert ask(address, "/adapters/stats", token=TOKENS.of_user("u1"))[0] == 403
    before = told()
    for user in ("u1", "u2", "a stranger"):
        first_token(address, prompts[1], user)
    after = told()
    assert after["served_user"] == before.get("served_user", 0) + 2
    assert after["fallbacks"] == before["fallbacks"] + 1
    assert 0 < after["fallback_rate"] < 1
    assert after["users"] == before["users"] >= USERS - 1  # one may be forgotten by now
