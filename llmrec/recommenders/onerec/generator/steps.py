"""The generator as the model of a beam search: one token per beam at a time, users encoded once."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from llmrec.recommenders.onerec.beam import StepScores
from llmrec.recommenders.onerec.generator.attention import KeyValue
from llmrec.recommenders.onerec.generator.layers import DecoderLayer
from llmrec.recommenders.onerec.generator.network import Generator
from llmrec.recommenders.onerec.generator.repeats import Repeats


@dataclass(eq=False)
class GeneratorState:
    """What a generator knows of its users during a search.

    Attributes:
        shared: Per decoder layer, keys and values of the users, ``[users, heads, tokens, width]``.
        mask: ``[users, tokens]`` bool, true where there is a token.
        place: ``[users]`` int64 place of the first item to be written.
        own: Per layer, keys and values of what the beams have written.
        codes: Codes of the item that is written, ``[users, beams]`` each.
        items: Items that every beam has begun.
        repeats: What codes gain for the items of the histories, if anything.
    """

    shared: list[KeyValue]
    mask: Tensor
    place: Tensor
    own: list[KeyValue] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)
    items: int = 0
    repeats: Repeats | None = None


class GeneratorSteps:
    """Implements :class:`~llmrec.recommenders.onerec.beam.Decoder`.

    Args:
        generator: The network, in evaluation mode.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    @torch.inference_mode()
    def begin(self, history: Tensor) -> GeneratorState:
        """Read histories ``[users, n]`` of item codes, oldest first, 0 after the end."""
        generator = self._generator
        if generator.recency is not None:
            memory, mask = generator.encode(history)
            shared = [as_layer(layer).cross.key_values(memory) for layer in generator.decoder]
            begin = torch.zeros_like(history[:, 0])
            return GeneratorState(shared, mask, begin, repeats=generator.repeats(history))
        mask = (history > 0)[:, :, None].expand(-1, -1, generator.levels + 1).flatten(1)
        return GeneratorState(self._read(history, mask), mask, (history > 0).sum(1))

    @torch.inference_mode()
    def step(
        self, state: GeneratorState, level: int, codes: Tensor | None, parents: Tensor | None
    ) -> StepScores:
        """Take in the codes chosen last and score the next level; see the protocol."""
        generator = self._generator
        hidden = None
        if codes is not None and parents is not None:
            state.own = [reordered(own, parents) for own in state.own]
            rows = torch.arange(len(parents), device=parents.device)[:, None]
            state.codes = [*(code[rows, parents] for code in state.codes), codes]
            last = generator.levels - 1 if level == 0 else level - 1
            place = (state.place + state.items - 1)[:, None].expand_as(codes)
            hidden = self._feed(state, generator.written_vectors(last, codes, place))
        if level == 0:
            state.codes = []
            beams = 1 if codes is None else codes.shape[1]
            place = (state.place + state.items)[:, None].expand(-1, beams)
            hidden = self._feed(state, generator.start_vectors(place))
            state.items += 1
        assert hidden is not None
        logits = generator.code_logits(level, generator.output_norm(hidden), state.codes)
        if state.repeats is not None:
            logits = state.repeats.added(level, logits, state.codes)
        return StepScores(logits, generator.log_normalizer(level, logits, state.codes))

    def _feed(self, state: GeneratorState, vectors: Tensor) -> Tensor:
        """Run one token of every beam through the decoder."""
        own: list[KeyValue | None] = list(state.own) or [None] * len(state.shared)
        written = []
        for layer, shared, before in zip(self._generator.decoder, state.shared, own, strict=True):
            vectors, after = as_layer(layer).step(vectors, shared, state.mask, before)
            written.append(after)
        state.own = written
        return vectors

    def _read(self, history: Tensor, mask: Tensor) -> list[KeyValue]:
        """Keys and values of the history in every layer of a generator without encoder."""
        states, found = self._generator.item_vectors(history), []
        for module in self._generator.decoder:
            layer = as_layer(module)
            found.append(layer.attention.key_values(layer.norm(states)))
            states = layer(states, mask, None, None)
        return found


def as_layer(module: torch.nn.Module) -> DecoderLayer:
    """A layer of a module list, as what it is."""
    assert isinstance(module, DecoderLayer)
    return module


def reordered(own: KeyValue, parents: Tensor) -> KeyValue:
    """What the parents of the beams have written, ``[users, beams, heads, t, width]``."""
    rows = torch.arange(len(parents), device=parents.device)[:, None]
    return KeyValue(own.keys[rows, parents], own.values[rows, parents])
