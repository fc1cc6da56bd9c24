"""The network against torch's own encoder, written-out encodings and published sizes."""

import numpy as np
import pytest
import torch
from torch import nn

from llmrec.errors import ConfigError
from llmrec.signatures.los_net.batches import Inputs, SignatureBatches
from llmrec.signatures.los_net.columns import columns_of
from llmrec.signatures.los_net.config import LOSNetConfig
from llmrec.signatures.los_net.layers import EncoderLayer
from llmrec.signatures.los_net.network import LOSNetwork, pool
from llmrec.signatures.los_net.scoring import logits_of
from llmrec.signatures.los_net.windows import windows_of
from llmrec.testing.signatures import VOCAB_SIZE, labelled_signatures


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def published_size(k, width, layers):
    projection = k * width // 2 + width // 2
    attention = 4 * (width * width + width)
    feed_forward = 2 * (width * width + width)
    layer = attention + feed_forward + 2 * 2 * width
    rank, first, positions, head = width, width, 201 * width, width + 1
    return projection + layers * layer + rank + first + positions + head


@pytest.mark.parametrize(
    ("hidden", "layers", "million"), [(128, 1, 0.19), (256, 2, 0.97), (128, 2, 0.29)]
)
def test_published_sizes(hidden, layers, million):
    network = LOSNetwork(LOSNetConfig.published(hidden=hidden, layers=layers))
    assert size(network) == published_size(1000, hidden, layers)
    assert round(size(network) / 1e6, 2) == million


def test_one_hot_ranks_replace_one_vector_by_a_table():
    scaled = LOSNetwork(LOSNetConfig.published())
    table = LOSNetwork(LOSNetConfig.published(rank_encoding="one_hot"), vocab_size=500)
    assert size(table) - size(scaled) == (500 - 1) * 64
    with pytest.raises(ConfigError, match="rank_encoding=scale"):
        LOSNetwork(LOSNetConfig.published(rank_encoding="one_hot"))


def torch_layer(layer, width, heads):
    own = nn.TransformerEncoderLayer(width, heads, width, batch_first=True, activation="relu")
    attention = own.self_attn
    pairs = [
        (attention.in_proj_weight, layer.query_key_value.weight),
        (attention.in_proj_bias, layer.query_key_value.bias),
        (attention.out_proj.weight, layer.output.weight),
        (attention.out_proj.bias, layer.output.bias),
        (own.linear1.weight, layer.expand.weight),
        (own.linear1.bias, layer.expand.bias),
        (own.linear2.weight, layer.contract.weight),
        (own.linear2.bias, layer.contract.bias),
    ]
    with torch.no_grad():
        for target, source in pairs:
            target.copy_(source)
    return own.eval()


@pytest.mark.parametrize("padded", [False, True])
def test_layer_is_torchs_encoder_layer(padded):
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 0.3).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.ndim == 1 and parameter is not layer.attention_norm.weight:
                parameter.normal_(std=0.5)
        layer.attention_norm.bias.zero_()
        layer.feed_forward_norm.weight.fill_(1)
        layer.feed_forward_norm.bias.zero_()
    states = torch.randn(3, 7, 16)
    seen = torch.ones(3, 7, dtype=torch.bool)
    if padded:
        seen[0, 4:], seen[2, 1:] = False, False
    expected = torch_layer(layer, 16, 4)(states, src_key_padding_mask=~seen)
    torch.testing.assert_close(layer(states, seen)[seen], expected[seen], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.first(states, seen), expected[:, 0], atol=1e-5, rtol=1e-5)
    if not padded:
        torch.testing.assert_close(layer(states), expected, atol=1e-5, rtol=1e-5)
        asked = layer.questions(states[:, 0])
        found = layer.first(states, asked=asked)
        torch.testing.assert_close(found, expected[:, 0], atol=1e-5, rtol=1e-5)


def test_short_form_has_the_gradients_of_the_long_one():
    torch.manual_seed(1)
    layer = EncoderLayer(8, 2, 0.0)
    states = torch.randn(2, 5, 8, requires_grad=True)
    seen = torch.ones(2, 5, dtype=torch.bool)
    weights = list(layer.parameters())
    probe = torch.randn(2, 8)
    long = torch.autograd.grad((layer(states, seen)[:, 0] * probe).sum(), [states, *weights])
    short = torch.autograd.grad((layer.first(states, seen) * probe).sum(), [states, *weights])
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_vector_of_a_position_written_out():
    config = LOSNetConfig(k=2, hidden=4, heads=2, extra_channels=False)
    network = LOSNetwork(config)
    values, actual, scaled = [0.3, -0.2], 0.7, 0.9
    inputs = Inputs(
        torch.tensor([values]), torch.tensor([actual]), torch.tensor([3]),
        torch.tensor([scaled]), torch.zeros(1, 12),
    )  # fmt: skip
    weight, bias = network.project.weight, network.project.bias
    projected = [weight[j] @ torch.tensor(values) + bias[j] for j in range(2)]
    encoded = [
        actual * scaled * network.rank_vector[j] + actual * network.actual_vector[j]
        for j in range(2)
    ]
    torch.testing.assert_close(network.embed(inputs)[0], torch.stack(projected + encoded))


def test_windows_written_out():
    found = windows_of(np.array([100, 101, 230, 0]), 100, 50)
    assert found.owner.tolist() == [0, 1, 1, 2, 2, 2, 2, 3]
    assert found.start.tolist() == [0, 0, 50, 0, 50, 100, 150, 0]
    assert found.length.tolist() == [100, 100, 51, 100, 100, 100, 80, 0]
    assert windows_of(np.array([230]), 100, 50, cut=True).length.tolist() == [100]


def test_pooling_takes_the_worst_place_or_all_evidence():
    logits, owner = torch.tensor([1.0, 3.0, -2.0]), torch.tensor([0, 0, 1])
    assert pool(logits, owner, 2, "correctness").tolist() == [3.0, -2.0]
    assert pool(logits, owner, 2, "membership").tolist() == [2.0, -2.0]


def score(network, records, config, alone=False):
    if alone:
        return np.concatenate([score(network, [one], config) for one in records])
    return logits_of(network, SignatureBatches(columns_of(records, config.k), config))


SETTINGS = [
    {},
    {"layers": 2},
    {"pooling": "mean"},
    {"task": "membership"},
    {"normaliser": "full"},
    {"rank_encoding": "one_hot"},
    {"pad_attention": "official", "long_text": "cut"},
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_company_does_not_change_a_score(options):
    """Padding to the longest of a batch is invisible, whatever the settings."""
    torch.manual_seed(2)
    config = LOSNetConfig(k=6, hidden=16, window=10, stride=5, **options)
    network = LOSNetwork(config, VOCAB_SIZE)
    records, _ = labelled_signatures(12, seed=4, k=6, lengths=(0, 33))
    together = score(network, records, config)
    np.testing.assert_allclose(together, score(network, records, config, True), atol=1e-5)
    assert np.isfinite(together).all()
    assert np.ptp(together) > 1e-3


def test_pad_rows_are_looked_at_only_as_published():
    torch.manual_seed(3)
    records, _ = labelled_signatures(1, seed=4, k=6, lengths=(4, 4))
    masked = LOSNetConfig(k=6, hidden=16, window=10, stride=5)
    official = masked.model_copy(update={"pad_attention": "official"})
    network = LOSNetwork(masked)
    one = score(network, records, masked)[0]
    network.config = official
    other = score(network, records, official)[0]
    assert abs(one - other) > 1e-4
    # written out: zero rows of features up to the window, all of them attended
    batch = SignatureBatches(columns_of(records, 6), masked).fixed(np.arange(1))
    vectors = torch.cat([network.embed(batch.inputs), network.padding().expand(6, -1)])
    with torch.no_grad():
        expected = network.read(vectors[None], torch.ones(1, 10, dtype=torch.bool))
    assert other == pytest.approx(float(expected), abs=1e-5)


def test_long_text_is_read_in_windows_or_cut():
    torch.manual_seed(4)
    config = LOSNetConfig(k=6, hidden=16, window=10, stride=5, long_text="cut")
    network = LOSNetwork(config)
    ten, _ = labelled_signatures(1, seed=5, k=6, lengths=(25, 25))
    columns = columns_of(ten, 6)
    source = SignatureBatches(columns, config)
    first = SignatureBatches(columns.take(np.array([0]), np.array([10])), config)
    cut = logits_of(network, source)
    np.testing.assert_allclose(cut, logits_of(network, first), atol=1e-6)
    network.config = config.model_copy(update={"long_text": "windows"})
    assert logits_of(network, SignatureBatches(columns, network.config))[0] >= cut[0]


def test_the_baseline_sees_the_actual_tokens_alone():
    """Other values change nothing, the actual token's log-probability and rank do."""
    config = LOSNetConfig(reads="actual", normaliser="none", extra_channels=False, k=3, hidden=16)
    network = LOSNetwork(config).eval()
    records, _ = labelled_signatures(4, seed=0, k=3)
    columns = columns_of(records, 3)

    def logits(**changed):
        other = type(columns)(**{**columns.__dict__, **changed})
        return logits_of(network, SignatureBatches(other, config))

    first = logits()
    np.testing.assert_array_equal(logits(logprobs=columns.logprobs - 2, tail=columns.tail), first)
    assert (logits(actual=columns.actual - 1) != first).all()
    assert (logits(rank=columns.rank + 5) != first).any()


@pytest.mark.parametrize("changed", [{"extra_channels": True}, {"normaliser": "topk"}])
def test_the_baseline_refuses_what_tells_of_other_values(changed):
    settings = {"reads": "actual", "normaliser": "none", "extra_channels": False, **changed}
    with pytest.raises(ValueError, match="reads=actual goes with"):
        LOSNetConfig(**settings)


def test_a_full_grid_is_not_copied_and_gives_the_same():
    """Texts of one length beside the same texts with a shorter one that makes padding needed."""
    config = LOSNetConfig(k=4, hidden=16)
    network = LOSNetwork(config).eval()
    records, _ = labelled_signatures(6, seed=0, k=4, lengths=(7, 7))
    short, _ = labelled_signatures(1, seed=1, k=4, lengths=(3, 3))
    alike = SignatureBatches(columns_of(records, 4), config)
    mixed = SignatureBatches(columns_of([*records, *short], 4), config)
    assert alike.fixed(np.arange(6)).fills_grid
    assert not mixed.fixed(np.arange(7)).fills_grid
    np.testing.assert_allclose(logits_of(network, mixed)[:6], logits_of(network, alike), atol=1e-5)
    long, _ = labelled_signatures(2, seed=2, k=4, lengths=(150, 150))
    windows = SignatureBatches(columns_of(long, 4), config).fixed(np.arange(2))
    assert windows.seen.all()  # full, but they overlap
    assert not windows.fills_grid
