"""Adapters of a vLLM engine: room, names and kinds, without an engine."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from llmrec.errors import ArtifactError, ConfigError
from llmrec.inference.vllm_adapters import VLLMAdapters, linear_layers, number_of
from llmrec.inference.vllm_start import find_model
from llmrec.testing.tiny_llama import save_tiny_adapter, save_tiny_llama

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("models") / "base", seed=5)


@pytest.fixture(scope="module")
def model(base):
    return find_model(str(base))


@pytest.fixture(scope="module")
def small(base):
    return save_tiny_adapter(base.parent / "small", base, rank=2, targets=("q_proj",))


@pytest.fixture(scope="module")
def large(base):
    return save_tiny_adapter(base.parent / "large", base, rank=9, targets=("up_proj", "v_proj"))


@pytest.fixture
def adapters(model):
    return VLLMAdapters(model.name, model.shapes.get)


def layers_of(model):
    return linear_layers(model.shapes, model.head)


def test_room_is_what_the_adapters_need(adapters, model, small, large):
    adapters.add("small", small)
    adapters.add("large", large)
    room = adapters.settle(None, layers_of(model))
    assert (room.rank, sorted(room.layers)) == (16, ["q_proj", "up_proj", "v_proj"])


def test_room_for_later(adapters, model, small, large):
    adapters.add("small", small)
    room = adapters.settle(9, layers_of(model))
    assert room.rank == 16
    assert room.layers == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    adapters.add("large", large)
    assert adapters.names == ["small", "large"]


def test_no_adapter_no_room(adapters, model, small):
    assert adapters.settle(None, layers_of(model)).rank == 0
    with pytest.raises(ConfigError, match=r"without room for adapters.*lora_rank=2"):
        adapters.add("small", small)
    assert adapters.names == []


@pytest.mark.parametrize("rank", [0, 513])
def test_rank_out_of_range(adapters, model, rank):
    with pytest.raises(ConfigError, match=f"rank of adapters is {rank}; vLLM has room for 1 to"):
        adapters.settle(rank, layers_of(model))


def test_room_too_small_for_those_given(adapters, model, large):
    adapters.add("large", large)
    with pytest.raises(ConfigError, match="'large' has rank 9, and this engine was started with"):
        adapters.settle(8, layers_of(model))


def test_layers_beyond_the_room(adapters, model, small, large):
    adapters.add("large", large)
    adapters.settle(None, layers_of(model))
    with pytest.raises(ConfigError, match=r"changes q_proj, .* room on up_proj, v_proj"):
        adapters.add("small", small)


def test_a_name_is_given_once(adapters, small, large):
    adapters.add("one", small)
    with pytest.raises(ConfigError, match="'one' already, and a name never changes its meaning"):
        adapters.add("one", large)


def test_changed_or_missing_files_are_refused(adapters, small, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    adapters.add("copy", copy)
    weights = load_file(copy / WEIGHTS)
    save_file({key: -weight for key, weight in weights.items()}, copy / WEIGHTS)
    with pytest.raises(ConfigError, match=r"'copy' in .* changed or went since it was added"):
        adapters.request_of("copy")
    (copy / WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="changed or went"):
        adapters.request_of("copy")


def test_hash_and_number_follow_the_files(adapters, small, large, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    for name, folder in (("small", small), ("copy", copy), ("large", large)):
        adapters.add(name, folder)
    hashes = [adapters.hash_of(name) for name in ("small", "copy", "large")]
    assert hashes[0] == hashes[1] != hashes[2]
    assert [1 <= number_of(each) < 2**63 for each in hashes] == [True] * 3


def test_adapter_for_another_base(adapters, small, tmp_path):
    other = save_tiny_llama(tmp_path / "other", seed=6)
    theirs = save_tiny_adapter(tmp_path / "theirs", other)
    with pytest.raises(ArtifactError, match=r"was made for .*other.* any_base=True"):
        adapters.add("theirs", theirs)
    adapters.add("theirs", theirs, any_base=True)


def test_adapter_that_does_not_fit(model, small):
    narrow = VLLMAdapters(model.name, {"model.layers.0.self_attn.q_proj": (7, 9)}.get)
    with pytest.raises(ArtifactError, match=r"does not fit .* a layer of \[7, 9\] there"):
        narrow.add("small", small)


def test_kinds_that_vllm_does_not_serve(adapters, base, tmp_path):
    head = save_tiny_adapter(tmp_path / "head", base, targets=("lm_head",))
    with pytest.raises(ArtifactError, match=r"vLLM cannot serve .* it also brings .*lm_head"):
        adapters.add("head", head)
    with pytest.raises(ArtifactError, match="holds no adapter: looked for adapter_config"):
        adapters.add("nothing", tmp_path)
