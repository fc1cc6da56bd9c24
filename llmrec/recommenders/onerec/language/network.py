"""A causal language model as what the training loop trains, and as what preferences are about."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.recommenders.onerec.language.texts import Prompts, TextBatch


class LanguageNetwork(nn.Module):
    """Cross-entropy over the whole vocabulary, on the tokens that carry loss.

    Vectors that a model uses both as inputs and as outputs are in its state once.

    Args:
        model: A causal language model of transformers.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._register_state_dict_hook(_without_copies)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_copies)  # type: ignore[no-untyped-call]

    def forward(self, batch: TextBatch) -> Tensor:
        """Summed loss of a batch, a scalar."""
        learn = batch.learn[:, 1:]
        logits = self._logits(batch.tokens, batch.mask)[:, :-1][learn]
        return functional.cross_entropy(logits.float(), batch.tokens[:, 1:][learn], reduction="sum")

    def list_log_probabilities(self, prompts: Prompts, history: Tensor, lists: Tensor) -> Tensor:
        """Log-probabilities of lists after histories, with gradient where it is wanted.

        Args:
            prompts: How histories are written.
            history: ``[rows, n]`` item codes, oldest first, 0 after the end.
            lists: ``[rows, m]`` item codes, m in every row.

        Returns:
            ``[rows]`` float32, summed over all codes of a list.
        """
        rows = torch.arange(len(history), device=history.device)[:, None]
        read = (history > 0).sum(1, keepdim=True)
        whole = functional.pad(history, (0, lists.shape[1]))
        whole[rows, read + torch.arange(lists.shape[1], device=lists.device)] = lists
        tokens, mask = prompts.histories(whole)
        found = self._logits(tokens, mask)[:, :-1].float().log_softmax(-1)
        found = found.gather(2, tokens[:, 1:, None]).squeeze(2)
        begin = len(prompts.prefix) + read * prompts.levels - 1
        place = begin + torch.arange(lists.shape[1] * prompts.levels, device=lists.device)
        return found.gather(1, place).sum(1)

    def copied(self) -> "LanguageNetwork":
        """Another network with a copy of the weights."""
        return LanguageNetwork(copy.deepcopy(self.model)).train(self.training)

    def _logits(self, tokens: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return result


def _without_copies(module: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
    """Drop the names under which a weight is there a second time."""
    for name in _copies(module):
        state.pop(prefix + name, None)


def _with_copies(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Put the names back that :func:`_without_copies` dropped."""
    for name, original in _copies(module).items():
        state.setdefault(prefix + name, state[prefix + original])


def _copies(module: nn.Module) -> dict[str, str]:
    """Names of weights that are there before under another name, which comes with them."""
    first: dict[int, str] = {}
    found = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(weight), name)
        if known != name:
            found[name] = known
    return found
