"""The generator with one token per item of the history, and small layers that write the codes.

A flat sequence spends a token on every code of every item. Here the codes of an item are added up
to one vector; causal layers run over items, and for every item that follows, the *writer* turns
the state so far into its codes, one after another (the spatial and depth transformers of Lee et
al., "Autoregressive image generation using residual quantization", 2022, section 3.2). It learns
at every item of a sequence like the form ``decoder``, at a quarter of its tokens.
"""

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from llmrec.errors import ConfigError
from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.layers import DecoderLayer
from llmrec.recommenders.onerec.generator.network import Generator, SessionBatch

_LARGEST_KEY = 1 << 62  # a finished item is found again by one number


class ItemGenerator(Generator):
    """See the module; the arguments are those of :class:`Generator`."""

    def __init__(self, config: GeneratorConfig, codes: Tensor, sizes: Sequence[int]) -> None:
        super().__init__(config, codes, sizes)
        if config.session > 1 and math.prod(sizes) > _LARGEST_KEY:
            raise ConfigError(
                f"semantic IDs of {len(sizes)} levels are too long to write sessions with "
                "form=item_decoder; use form=decoder or fewer levels."
            )
        self.writer = nn.ModuleList(DecoderLayer(config) for _ in range(config.writer_layers))
        self.item_norm = nn.RMSNorm(config.dim)
        self.own_vectors = None
        if config.item_vectors:
            self.own_vectors = nn.Embedding(len(codes) + 1, config.dim)
            self._initialise(self.own_vectors)
        for layer in self.writer:
            layer.apply(self._initialise)
        self.list_layers = None
        if config.list_layers:  # copied, not drawn: nothing else begins otherwise for having them
            both = {"decoder": self.decoder, "writer": self.writer}
            self.list_layers = nn.ModuleDict(copy.deepcopy(both))

    def layers(self, part: Literal["decoder", "writer"]) -> nn.ModuleList:
        """The layers over items or those that write, of lists where one is written."""
        own = self.list_layers if self._in_list else None
        found = getattr(self, part) if own is None else own[part]
        assert isinstance(found, nn.ModuleList)
        return found

    def part_lists(self) -> None:
        """Let the layers of lists begin as copies of the others; nothing where there are none."""
        if self.list_layers is not None:
            self.list_layers["decoder"].load_state_dict(self.decoder.state_dict())
            self.list_layers["writer"].load_state_dict(self.writer.state_dict())

    def item_states(self, items: Tensor) -> Tensor:
        """States before and after every item: ``[rows, n]`` codes to ``[rows, n + 1, d]``."""
        states, real = self.read_vectors(items), self.read_mask(items)
        for layer in self.layers("decoder"):
            states = layer(states, real, None, None)
        return self.read_out(states)

    def read_vectors(self, items: Tensor) -> Tensor:
        """Inputs of the layers over items: the beginning, then the items from place 1 on."""
        place = torch.arange(items.shape[1] + 1, device=items.device)
        begin = self.begin_vector().expand(len(items), 1, -1)
        vectors = torch.cat([begin, self.history_vectors(items, place[1:])], dim=1)
        result: Tensor = self.dropout(vectors)
        return result

    def begin_vector(self) -> Tensor:
        """Input of the place before all items, ``[d]``."""
        result: Tensor = self.separator + self.places.weight[0]
        return result

    def read_mask(self, items: Tensor) -> Tensor:
        """Where there is an item, or the beginning: ``[rows, n + 1]`` bool."""
        return torch.nn.functional.pad(items > 0, (1, 0), value=True)

    def history_vectors(self, items: Tensor, place: Tensor) -> Tensor:
        """One vector per item: the sum of its codes' vectors, its own vector, its place."""
        vectors: Tensor = self._code_vectors(items).sum(-2) + self.places(place)
        if self.own_vectors is not None:
            vectors = vectors + self.own_vectors(items)
        return vectors

    def read_out(self, states: Tensor) -> Tensor:
        """What the writer is given of the last layer over items."""
        result: Tensor = self.item_norm(states)
        return result

    def writer_vectors(self, level: int, code: Tensor) -> Tensor:
        """Input of the writer for a code of one level, any shape ``+ [d]``."""
        vectors = self.code_vectors(code + self.first[level])
        result: Tensor = vectors + self.level_vectors[level + 1]
        return result

    def code_logits(self, level: int, states: Tensor, before: Sequence[Tensor]) -> Tensor:
        """See the base class; items' own vectors speak for the codes that lead to them."""
        logits = super().code_logits(level, states, before)
        if self.own_vectors is None or self.existing is None:
            return logits
        own = self.own_vectors.weight[1:]
        return logits + self.existing.item_logits(level, states, own, before)

    def _learnt(self, batch: SessionBatch) -> tuple[Tensor, Tensor]:
        items = batch.session.flatten().index_select(0, batch.learn_at)
        states = self.item_states(batch.session[:, :-1]).flatten(0, 1)
        return self._write(states.index_select(0, batch.learn_at), items), self.codes[items]

    def _written(self, batch: SessionBatch) -> Tensor:
        states = self.item_states(batch.session[:, :-1])
        hidden = self._write(states.flatten(0, 1), batch.session.flatten())
        return hidden.view(*batch.session.shape, self.levels, -1)

    def _write(self, states: Tensor, items: Tensor) -> Tensor:
        """States that predict the codes: ``[n, d]`` and ``[n]`` items to ``[n, levels, d]``."""
        begin = (states + self.start_vector())[:, None]
        codes = self._code_vectors(items)[:, :-1] + self.level_vectors[1:-1]
        hidden = self.dropout(torch.cat([begin, codes], dim=1))
        for layer in self.layers("writer"):
            hidden = layer(hidden, None, None, None)
        result: Tensor = self.output_norm(hidden)
        return result
