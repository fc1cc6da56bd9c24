"""The network (paper, Section 4): one vector per position, Transformer layers, one logit.

A position's vector is ``concat(Linear(K -> H/2)(values), RE)`` of width ``H`` with the rank
encoding ``RE = (p r_s) w1 + p w2`` (or ``p table[r] + p w2``), ``p`` the normalised log-probability
of the actual token and ``r_s`` its scaled rank. The extra channels are added through one more
linear map. A learned first vector and learned positions complete the input. The network knows
numbers only; what they are is the business of ``features``.
"""

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.signatures.los_net.batches import Inputs, WindowBatch
from llmrec.signatures.los_net.config import LOSNetConfig
from llmrec.signatures.los_net.features import CHANNELS, FLAGS
from llmrec.signatures.los_net.layers import EncoderLayer

_CUT = 10.0  # standard deviations of an extra channel


class LOSNetwork(nn.Module):
    """See the module.

    Args:
        config: Architecture.
        vocab_size: Width of the logits; needed by the one-hot rank encoding alone.

    Raises:
        ConfigError: The one-hot rank encoding has no vocabulary size.
    """

    channel_mean: Tensor
    channel_scale: Tensor

    def __init__(self, config: LOSNetConfig, vocab_size: int | None = None) -> None:
        super().__init__()
        self.config = config
        whole = config.reads == "signature"
        width, half = config.hidden, config.hidden // 2 if whole else config.hidden
        self.project = nn.Linear(config.k, half) if whole else None
        self.rank_vector = nn.Parameter(torch.randn(half) * half**-0.5)
        self.actual_vector = nn.Parameter(torch.randn(half) * half**-0.5)
        if config.rank_encoding == "one_hot":
            if not vocab_size:
                raise ConfigError(
                    "rank_encoding=one_hot needs records that say how wide the vocabulary is; "
                    "use rank_encoding=scale."
                )
            self.rank_vector = nn.Parameter(torch.randn(vocab_size, half) * half**-0.5)
        self.channels = nn.Linear(len(CHANNELS), width) if config.extra_channels else None
        if config.extra_channels:
            self.register_buffer("channel_mean", torch.zeros(len(CHANNELS)))
            self.register_buffer("channel_scale", torch.ones(len(CHANNELS)))
        self.first = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(2 * config.window + 1, width) * 0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.head = nn.Linear(width, 1)

    def forward(self, batch: WindowBatch) -> Tensor:
        """One logit per text: ``[n]``, pooled over its windows."""
        logits = self.window_logits(self.embed(batch.inputs), batch)
        return pool(logits, batch.owner, batch.n, self.config.task)

    def embed(self, inputs: Inputs) -> Tensor:
        """One vector per position, ``[..., width]``, before its place in a window is added."""
        actual = inputs.actual.unsqueeze(-1)
        if self.config.rank_encoding == "scale":
            ranked = (inputs.actual * inputs.rank_scaled).unsqueeze(-1) * self.rank_vector
        else:
            table = self.rank_vector
            ranked = actual * table[inputs.rank.clamp(max=len(table) - 1)]
        encoded = ranked + actual * self.actual_vector
        vectors = encoded
        if self.project is not None:
            vectors = torch.cat([self.project(inputs.values), encoded], dim=-1)
        if self.channels is not None:
            vectors = vectors + self.channels(self._standard(inputs.channels))
        return vectors

    def window_logits(self, vectors: Tensor, batch: WindowBatch) -> Tensor:
        """``[T, width]`` vectors to ``[W]`` logits of windows."""
        n_windows, longest = batch.seen.shape
        if batch.fills_grid:  # nothing to pad or to repeat, and so nothing to copy
            return self.read(vectors.view(n_windows, longest, -1), batch.seen)
        grid = self.padding().expand(n_windows * longest, -1)
        grid = grid.index_copy(0, batch.cells, vectors.index_select(0, batch.source))
        return self.read(grid.view(n_windows, longest, -1), batch.seen)

    def padding(self) -> Tensor:
        """``[1, width]``: the vector of a row of zeros, without channels."""
        if self.project is None:
            return torch.zeros_like(self.first)[None]
        bias = self.project.bias
        return torch.cat([bias, torch.zeros_like(bias)])[None]

    def read(
        self, vectors: Tensor, seen: Tensor | None = None, asked: Tensor | None = None
    ) -> Tensor:
        """Logits of windows in a grid.

        Args:
            vectors: ``[W, N, width]``.
            seen: ``[W, N]`` which of them may be looked at; None if all may.
            asked: What :meth:`fixed_questions` gave; found anew if left out.

        Returns:
            ``[W]``.
        """
        first = self.first.expand(vectors.shape[0], 1, -1)
        states = torch.cat([first, vectors], dim=1) + self.positions[: vectors.shape[1] + 1]
        if seen is not None:
            seen = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
        for layer in self.layers[:-1]:
            states = layer(states, seen)
        last = self.layers[-1]
        if self.config.pooling == "cls":
            read = last.first(states, seen, asked)  # type: ignore[operator]
        elif seen is None:
            read = last(states).mean(1)
        else:
            states = last(states, seen) * seen.unsqueeze(-1)
            read = states.sum(1) / seen.sum(1, keepdim=True)
        logits: Tensor = self.head(read).squeeze(-1)
        return logits

    def fixed_questions(self) -> Tensor | None:
        """What the first state asks of all others, ``[1, heads, width]``.

        None where it depends on the text: there are more layers, or all states are read.
        """
        if len(self.layers) > 1 or self.config.pooling != "cls":
            return None
        layer = self.layers[0]
        assert isinstance(layer, EncoderLayer)
        return layer.questions((self.first + self.positions[0])[None])

    def set_channel_scales(self, channels: Tensor) -> None:
        """Standardise the extra channels by ``[T, channels]`` examples; flags stay as they are."""
        if self.channels is None or not len(channels):
            return
        mean, scale = channels.mean(0), channels.std(0, correction=0).clamp_min(1e-3)
        mean[-FLAGS:], scale[-FLAGS:] = 0.0, 1.0
        self.channel_mean.copy_(mean)
        self.channel_scale.copy_(scale)

    def _standard(self, channels: Tensor) -> Tensor:
        return ((channels - self.channel_mean) / self.channel_scale).clamp(-_CUT, _CUT)


def pool(logits: Tensor, owner: Tensor, n: int, task: str) -> Tensor:
    """Logits of texts from those of their windows.

    The largest for correctness, since one wrong place makes an answer wrong; the mean for
    membership, since every place is evidence.

    Args:
        logits: ``[W]``.
        owner: ``[W]`` text of each window; every text has at least one.
        n: Number of texts.
        task: ``"correctness"`` or ``"membership"``.
    """
    if len(owner) == n:
        return logits
    how = "amax" if task == "correctness" else "mean"
    start = logits.new_zeros(n)
    return start.scatter_reduce(0, owner, logits, reduce=how, include_self=False)
