"""Which network and which steps of a search belong to a form of generator."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from llmrec.recommenders.onerec.generator.config import GeneratorConfig
from llmrec.recommenders.onerec.generator.item_network import ItemGenerator
from llmrec.recommenders.onerec.generator.item_steps import ItemSteps
from llmrec.recommenders.onerec.generator.network import Generator
from llmrec.recommenders.onerec.generator.steps import GeneratorSteps


def make_generator(config: GeneratorConfig, codes: Tensor, sizes: Sequence[int]) -> Generator:
    """An untrained generator; see :class:`~.network.Generator` for the arguments."""
    network = ItemGenerator if config.form == "item_decoder" else Generator
    return network(config, codes, sizes)


def search_steps(generator: Generator) -> Any:
    """What a beam search asks: ``begin(history)`` and the steps of a decoder.

    Args:
        generator: In evaluation mode.
    """
    if isinstance(generator, ItemGenerator):
        return ItemSteps(generator)
    return GeneratorSteps(generator)
