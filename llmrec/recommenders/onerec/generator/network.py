"""The generator: it reads a history and writes the semantic IDs of a session.

Every item is ``[start, code 1, ..., code L]``. The start of an item is given, never predicted, so
the loss lies on codes only, and each level chooses among its own codes. The network knows item
codes (1-based, 0 for padding) and a table of their semantic IDs; it knows no ids and no texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.recommenders.onerec.generator.choices import CodeHead, ExistingCodes
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.experts import Experts
from llmrec.recommenders.onerec.generator.layers import DecoderLayer, EncoderLayer
from llmrec.recommenders.onerec.generator.repeats import Repeats, items_led_to, repeats_of
from llmrec.training.dropout import ByteDropout

_EMBEDDING_STD = 0.05
_MARK_SCALE = 8.0  # the mark moves faster than what is shared: lists part from next items early


@dataclass(frozen=True)
class SessionBatch:
    """Histories and the sessions that followed them.

    Attributes:
        history: ``[rows, n]`` int64 item codes, oldest first, 0 after the end; ``n`` may be 0.
        session: ``[rows, m]`` int64 item codes, 0 after the end.
        learn: ``[rows, m]`` bool, true for items of the session that carry loss.
        levels: Codes of a semantic ID.
    """

    history: Tensor
    session: Tensor
    learn: Tensor
    levels: int

    @property
    def n_targets(self) -> int:
        """Number of loss terms."""
        return len(self.learn_at) * self.levels

    @cached_property
    def learn_at(self) -> Tensor:
        """``[n]`` int64 places of the items that carry loss in the flattened sessions."""
        return self.learn.flatten().nonzero().squeeze(1)

    def to(self, device: torch.device) -> Self:
        """The same batch on another device; what carries loss is looked up before it moves."""
        for name in ("learn_at", "history", "session", "learn"):
            moved = getattr(self, name).to(device, non_blocking=True)
            object.__setattr__(self, name, moved)
        return self


class Generator(nn.Module):
    """See the module.

    Args:
        config: Architecture.
        codes: ``[items, levels]`` int64 semantic IDs; row ``j`` belongs to item code ``j + 1``.
        sizes: Codes per level.
    """

    codes: Tensor
    first: Tensor
    leads_to: Tensor
    scratch_state = frozenset({"codes"})
    skips_parameters = True  # a form without encoder, a mark without lists

    def __init__(self, config: GeneratorConfig, codes: Tensor, sizes: Sequence[int]) -> None:
        super().__init__()
        self.config, self.sizes = config, tuple(sizes)
        self.register_buffer("codes", functional.pad(codes.long(), (0, 0, 1, 0)))
        self.register_buffer("first", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)
        dim, levels = config.dim, len(self.sizes)
        self.code_vectors = nn.Embedding(sum(self.sizes), dim)
        # the start of an item, then its codes
        self.level_vectors = nn.Parameter(torch.randn(levels + 1, dim) * _EMBEDDING_STD)
        self.separator = nn.Parameter(torch.zeros(dim))
        # zero: a list is at first what its items would be one after another
        self.list_mark = nn.Parameter(torch.zeros(dim)) if config.marks_lists else None
        self._in_list = False
        reads = config.form == "encoder_decoder"
        self.recency = nn.Embedding(config.history, dim) if reads else None
        written = config.session if reads else config.history + config.session
        self.places = nn.Embedding(written, dim)
        self.dropout = ByteDropout(config.dropout)
        self.encoder = nn.ModuleList(
            EncoderLayer(config) for _ in range(config.encoder_layers if reads else 0)
        )
        self.encoder_norm = nn.RMSNorm(dim)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.output_norm = nn.RMSNorm(dim)
        self.heads = nn.ModuleList(CodeHead(dim, size, config.tied) for size in self.sizes)
        self.existing = ExistingCodes(codes, sizes) if config.choices == "existing" else None
        self.repeat_bias = nn.Parameter(torch.zeros(())) if config.repeat_bias else None
        if config.repeat_bias:
            self.register_buffer("leads_to", items_led_to(codes.long().cpu()), persistent=False)
        self.apply(self._initialise)

    @property
    def levels(self) -> int:
        """Codes of a semantic ID."""
        return len(self.sizes)

    def forward(self, batch: SessionBatch) -> Tensor:
        """Cross-entropy summed over the codes of the items that carry loss, a scalar."""
        found = self._learnt_log_probabilities(batch)
        return -torch.stack([each.sum() for each in found]).sum()

    def code_logits(self, level: int, states: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Logits of the codes of a level, ``[..., d]`` to ``[..., size]``, without :meth:`repeats`.

        Args:
            level: The level.
            states: What predicts it.
            before: Codes of the levels before, ``[...]`` each.
        """
        first = sum(self.sizes[:level])
        result: Tensor = self.heads[level](
            states, self.code_vectors.weight[first : first + self.sizes[level]]
        )
        return result

    def repeats(self, history: Tensor) -> Repeats | None:
        """What codes gain for the items of histories ``[rows, n]``; None without a bias."""
        if self.repeat_bias is None:
            return None
        return repeats_of(self.repeat_bias, history, self.codes, self.leads_to)

    def log_normalizer(self, level: int, logits: Tensor, before: Sequence[Tensor]) -> Tensor:
        """Log-sum-exp over what a level chooses from, ``[...]`` float32.

        Args:
            level: The level.
            logits: ``[..., size]``.
            before: Codes of the levels before, ``[...]`` each.
        """
        if self.existing is None:
            return logits.float().logsumexp(-1)
        return self.existing.log_normalizer(level, logits, before)

    def log_probabilities(self, batch: SessionBatch) -> Tensor:
        """Log-probability of every code of the sessions.

        Returns:
            ``[rows, m, levels]`` float32; 0 where the session has ended.
        """
        hidden, codes = self._written(batch), self.codes[batch.session]
        found = self._of_codes(hidden, codes, self.repeats(batch.history))
        return torch.stack(found, dim=-1) * (batch.session > 0)[..., None]

    def item_log_probabilities(self, batch: SessionBatch) -> Tensor:
        """Log-probability of every item that carries loss, ``[n]`` float32, row by row."""
        return torch.stack(self._learnt_log_probabilities(batch), dim=-1).sum(-1)

    def encode(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """Read histories.

        Args:
            history: ``[rows, n]`` item codes, oldest first, 0 after the end.

        Returns:
            States ``[rows, n (levels + 1), d]`` and a mask of the same length, true for tokens.
        """
        assert self.recency is not None
        rows, length = history.shape
        lengths = (history > 0).sum(1, keepdim=True)
        age = (lengths - 1 - torch.arange(length, device=history.device)).clamp_min(0)
        vectors = torch.cat(
            [self.separator.expand(rows, length, 1, -1), self._code_vectors(history)], dim=2
        )
        vectors = vectors + self.recency(age)[:, :, None] + self.level_vectors
        mask = (history > 0)[:, :, None].expand(-1, -1, self.levels + 1).flatten(1)
        states = self.dropout(vectors.flatten(1, 2))
        for layer in self.encoder:
            states = layer(states, mask)
        return self.encoder_norm(states), mask

    @contextmanager
    def writing_lists(self) -> Iterator[None]:
        """Mark starts of items as those of a list, where the settings ask for it."""
        before, self._in_list = self._in_list, True
        try:
            yield
        finally:
            self._in_list = before

    def part_lists(self) -> None:
        """Let layers that only lists have begin as copies of the others; here there are none."""

    def start_vector(self) -> Tensor:
        """What says that an item starts, ``[d]``."""
        if self.list_mark is None or not self._in_list:
            return self.level_vectors[0]
        return self.level_vectors[0] + _MARK_SCALE * self.list_mark

    def start_vectors(self, place: Tensor) -> Tensor:
        """Input of the start of an item, for its places in the sequence, any shape ``+ [d]``."""
        result: Tensor = self.places(place) + self.start_vector()
        return result

    def written_vectors(self, level: int, code: Tensor, place: Tensor) -> Tensor:
        """Input of codes of one level, for their items' places in the sequence."""
        vectors = self.code_vectors(code + self.first[level])
        result: Tensor = vectors + self.places(place) + self.level_vectors[level + 1]
        return result

    def item_vectors(self, items: Tensor) -> Tensor:
        """Inputs of items from place 0 on: ``[rows, n]`` to ``[rows, n (levels + 1), d]``."""
        place = torch.arange(items.shape[1], device=items.device)
        start = self.start_vectors(place).expand(len(items), -1, -1)
        vectors = self._code_vectors(items) + self.places(place)[:, None]
        vectors = vectors + self.level_vectors[1:]
        return torch.cat([start[:, :, None], vectors], dim=2).flatten(1, 2)

    def start_epoch(self, epoch: int) -> None:
        """Nothing to do."""

    def end_epoch(self) -> Mapping[str, float]:
        """How evenly the experts were used, and the bias of repeats.

        Busiest and idlest expert are told by their share times the number of experts.
        """
        told = {} if self.repeat_bias is None else {"repeat_bias": self.repeat_bias.item()}
        experts = [module for module in self.modules() if isinstance(module, Experts)]
        loads = [module.take_load() for module in experts]
        if not loads:
            return told
        shares = torch.stack([load / load.mean().clamp_min(1.0) for load in loads])
        most, least = float(shares.max()), float(shares.min())
        return {**told, "expert_load_max": most, "expert_load_min": least}

    def _learnt_log_probabilities(self, batch: SessionBatch) -> list[Tensor]:
        """Of the codes of items with loss: ``[n]`` float32 per level."""
        hidden, codes = self._learnt(batch)
        repeats = self.repeats(batch.history)
        if repeats is not None:
            rows = batch.learn_at.div(batch.session.shape[1], rounding_mode="floor")
            repeats = repeats.of(rows)
        found = self._of_codes(hidden[:, None], codes[:, None], repeats)
        return [each.squeeze(1) for each in found]

    def _of_codes(self, hidden: Tensor, codes: Tensor, repeats: Repeats | None) -> list[Tensor]:
        """Log-probabilities of codes ``[rows, k, levels]``: ``[rows, k]`` float32 per level."""
        each, found = codes.unbind(-1), []
        for level, code in enumerate(each):
            logits = self.code_logits(level, hidden[:, :, level], each[:level])
            if repeats is not None:
                logits = repeats.added(level, logits, each[:level])
            chosen = logits.gather(2, code[..., None]).squeeze(2).float()
            found.append(chosen - self.log_normalizer(level, logits, each[:level]))
        return found

    def _learnt(self, batch: SessionBatch) -> tuple[Tensor, Tensor]:
        """States that predict codes, and the codes, of items with loss: ``[n, levels, d]``."""
        items = batch.session.flatten().index_select(0, batch.learn_at)
        hidden = self._written(batch).flatten(0, 1).index_select(0, batch.learn_at)
        return hidden, self.codes[items]

    def _written(self, batch: SessionBatch) -> Tensor:
        """States that predict codes, ``[rows, m, levels, d]``."""
        session = batch.session
        memory, mask = None, None
        if self.recency is not None:
            memory, mask = self.encode(batch.history)
        real = (session > 0)[:, :, None].expand(-1, -1, self.levels + 1).flatten(1)
        states = self.dropout(self.item_vectors(session))
        for layer in self.decoder:
            states = layer(states, real, memory, mask)
        # the last code of an item predicts nothing: the start of the next one is given
        hidden: Tensor = self.output_norm(states)
        return hidden.view(*session.shape, self.levels + 1, -1)[:, :, :-1]

    def _code_vectors(self, items: Tensor) -> Tensor:
        """``[rows, n]`` item codes to ``[rows, n, levels, d]``."""
        result: Tensor = self.code_vectors(self.codes[items] + self.first)
        return result

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=_EMBEDDING_STD)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
