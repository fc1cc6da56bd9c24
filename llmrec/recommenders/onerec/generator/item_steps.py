"""A generator with one token per item as the model of a beam search.

Within an item only the writer runs, on one token per beam. Where a list goes on, the finished item
of every beam is one more token for the layers over items, whose keys and values of the history
belong to the user and are kept once.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmrec.recommenders.onerec.beam import StepScores
from llmrec.recommenders.onerec.generator.attention import KeyValue
from llmrec.recommenders.onerec.generator.item_network import ItemGenerator
from llmrec.recommenders.onerec.generator.steps import as_layer, reordered


@dataclass(eq=False)
class ItemState:
    """What a generator knows of its users during a search.

    Attributes:
        states: ``[users, beams, d]`` state before the item that is written; one beam at first.
        shared: Per layer over items, keys and values of the users' histories.
        mask: ``[users, tokens]`` bool, true where there is a token.
        place: ``[users]`` int64 place of the first item to be written.
        own: Per layer over items, keys and values of the items that each beam has written.
        writer: Per layer of the writer, keys and values of the item that is written.
        codes: Codes of that item so far, ``[users, beams]`` each.
        items: Finished items of every beam.
    """

    states: Tensor
    shared: list[KeyValue]
    mask: Tensor
    place: Tensor
    own: list[KeyValue] = field(default_factory=list)
    writer: list[KeyValue] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)
    items: int = 0


class ItemSteps:
    """Implements :class:`~llmrec.recommenders.onerec.beam.Decoder`.

    Args:
        generator: The network, in evaluation mode.
    """

    def __init__(self, generator: ItemGenerator) -> None:
        self._generator = generator
        self._keys, order = self._key_of(generator.codes[1:].T).sort(stable=True)
        self._items = order + 1

    @torch.inference_mode()
    def begin(self, history: Tensor) -> ItemState:
        """Read histories ``[users, n]`` of item codes, oldest first, 0 after the end."""
        generator = self._generator
        states, mask = generator.read_vectors(history), generator.read_mask(history)
        shared = []
        for module in generator.layers("decoder"):
            layer = as_layer(module)
            shared.append(layer.attention.key_values(layer.norm(states)))
            states = layer(states, mask, None, None)
        lengths = (history > 0).sum(1)
        rows = torch.arange(len(history), device=history.device)
        last = generator.read_out(states[rows, lengths])
        return ItemState(last[:, None], shared, mask, lengths + 1)

    @torch.inference_mode()
    def step(
        self, state: ItemState, level: int, codes: Tensor | None, parents: Tensor | None
    ) -> StepScores:
        """Take in the codes chosen last and score the next level; see the protocol."""
        generator = self._generator
        if codes is not None and parents is not None:
            self._follow(state, parents)
            state.codes.append(codes)
        if level == 0:
            if codes is not None:
                self._finish_item(state)
            vectors = state.states + generator.start_vector()
        else:
            vectors = generator.writer_vectors(level - 1, state.codes[-1])
        layers = generator.layers("writer")
        before: list[KeyValue | None] = list(state.writer) or [None] * len(layers)
        state.writer = []
        for module, own in zip(layers, before, strict=True):
            vectors, after = as_layer(module).step(vectors, None, None, own)
            state.writer.append(after)
        logits = generator.code_logits(level, generator.output_norm(vectors), state.codes)
        return StepScores(logits, generator.log_normalizer(level, logits, state.codes))

    def _follow(self, state: ItemState, parents: Tensor) -> None:
        """Continue the parents of the beams."""
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        state.states = state.states[rows, parents]
        state.own = [reordered(own, parents) for own in state.own]
        state.writer = [reordered(own, parents) for own in state.writer]
        state.codes = [code[rows, parents] for code in state.codes]

    def _finish_item(self, state: ItemState) -> None:
        """Read the item that every beam has just written."""
        generator = self._generator
        found = torch.searchsorted(self._keys, self._key_of(torch.stack(state.codes)))
        # the codes of a beam that is dead need not exist; it stays dead whatever it is taken for
        items = self._items[found.clamp_max(len(self._keys) - 1)]
        place = (state.place + state.items)[:, None]
        vectors = generator.history_vectors(items, place)
        before: list[KeyValue | None] = list(state.own) or [None] * len(state.shared)
        state.own = []
        layers = generator.layers("decoder")
        for module, shared, own in zip(layers, state.shared, before, strict=True):
            vectors, after = as_layer(module).step(vectors, shared, state.mask, own)
            state.own.append(after)
        state.states = generator.read_out(vectors)
        state.writer, state.codes = [], []
        state.items += 1

    def _key_of(self, codes: Tensor) -> Tensor:
        """One number per semantic ID, of ``[levels, ...]`` codes."""
        keys = torch.zeros_like(codes[0])
        for size, column in zip(self._generator.sizes, codes, strict=True):
            keys = keys * size + column
        return keys
