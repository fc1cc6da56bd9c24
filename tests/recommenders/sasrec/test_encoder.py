"""The encoder against a loop implementation, and what packing must not change."""

import loop_encoder
import numpy as np
import pytest
import torch

from llmrec.recommenders.sasrec.config import SASRecConfig
from llmrec.recommenders.sasrec.encoder import PackedRows, SequenceEncoder

N_ITEMS = 23


def make(**options):
    settings = {"dim": 12, "heads": 3, "blocks": 2, "feed_forward": 20, "max_length": 60}
    config = SASRecConfig(**{**settings, **options})
    torch.manual_seed(0)
    encoder = SequenceEncoder(config, N_ITEMS)
    with torch.no_grad():  # away from the initial values, where biases are 0 and norms 1
        for parameter in encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder.eval()


def sequences(lengths, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, N_ITEMS + 1, length) for length in lengths]


def encode(encoder, rows):
    """One tensor of states per row."""
    items = torch.from_numpy(np.concatenate(rows).astype(np.int64))
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    with torch.inference_mode():
        states = encoder(items, PackedRows(lengths))
    return list(states.split(lengths.tolist()))


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(("blocks", "heads", "dim"), [(2, 3, 12), (1, 1, 8), (3, 4, 8)])
def test_equals_the_loop_implementation(norm, blocks, heads, dim):
    encoder = make(norm=norm, blocks=blocks, heads=heads, dim=dim)
    weights = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    rows = sequences([1, 2, 7, 8, 9, 21, 33])
    for row, states in zip(rows, encode(encoder, rows), strict=True):
        expected = loop_encoder.encode(weights, row, blocks=blocks, heads=heads, norm=norm)
        np.testing.assert_allclose(states.numpy(), expected, rtol=1e-3, atol=2e-4)


def test_names_of_the_weights_are_all_used():
    """The loop implementation would not notice a weight it does not know."""
    kinds = {name.split(".", 2)[-1] if "blocks" in name else name for name in make().state_dict()}
    block = {"attention_norm", "query_key_value", "attention_output"}
    block |= {"feed_forward_norm", "expand", "contract"}
    expected = {f"{layer}.{kind}" for layer in block for kind in ("weight", "bias")}
    expected |= {"items.weight", "positions.weight", "input_norm.weight", "input_norm.bias"}
    assert kinds == expected


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_state_at_a_position_is_the_encoding_of_the_prefix(norm):
    encoder = make(norm=norm)
    (row,) = sequences([45])
    (whole,) = encode(encoder, [row])
    prefixes = encode(encoder, [row[: end + 1] for end in range(len(row))])
    for position, prefix in enumerate(prefixes):
        torch.testing.assert_close(whole[position], prefix[-1], rtol=1e-4, atol=1e-5)


def test_packing_changes_nothing():
    encoder = make()
    rows = sequences(range(1, 61))
    alone = [encode(encoder, [row])[0] for row in rows]
    order = np.random.default_rng(3).permutation(len(rows))
    for arrangement in (np.arange(60), order, order[:7], np.repeat(order[:3], 2)):
        packed = encode(encoder, [rows[number] for number in arrangement])
        for number, states in zip(arrangement, packed, strict=True):
            torch.testing.assert_close(states, alone[number], rtol=1e-4, atol=1e-5)


def test_gradients_do_not_depend_on_the_order_of_rows():
    rows, order = sequences([3, 30, 9, 1, 17, 52]), [4, 1, 5, 0, 3, 2]
    gradients = []
    for arrangement in (range(6), order):
        encoder = make()
        chosen = [rows[number] for number in arrangement]
        items = torch.from_numpy(np.concatenate(chosen))
        layout = PackedRows(np.array([len(row) for row in chosen]))
        encoder(items, layout)[layout.last].square().sum().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-4)


def test_last_positions():
    assert PackedRows(np.array([3, 1, 5])).last.tolist() == [2, 3, 8]
    assert PackedRows(np.array([3, 1, 2])).positions.tolist() == [0, 1, 2, 0, 0, 1]


def test_dropout_only_while_training():
    encoder = make(dropout=0.5, attention_dropout=0.5)
    rows = sequences([9, 4])
    assert torch.equal(encode(encoder, rows)[0], encode(encoder, rows)[0])
    encoder.train()
    assert not torch.equal(encode(encoder, rows)[0], encode(encoder, rows)[0])


def test_initial_weights():
    torch.manual_seed(0)
    config = SASRecConfig(dim=64, feed_forward=256, max_length=50, init_std=0.02)
    for name, value in SequenceEncoder(config, 2000).state_dict().items():
        if value.ndim == 2:
            assert value.std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(value.mean().item()) < 0.002, name
        else:
            constant = 1.0 if "norm.weight" in name else 0.0
            assert (value == constant).all(), name
