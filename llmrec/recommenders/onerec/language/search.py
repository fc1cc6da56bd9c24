"""From histories to items with a language model: searches, exact scores, validation."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from llmrec.data.histories import Histories
from llmrec.recommenders.onerec.beam import BeamLists, beam_search
from llmrec.recommenders.onerec.generator.rows import padded
from llmrec.recommenders.onerec.language.network import LanguageNetwork
from llmrec.recommenders.onerec.language.steps import LanguageState, LanguageSteps
from llmrec.recommenders.onerec.language.texts import Prompts
from llmrec.recommenders.onerec.limits import Exclusions, Limits
from llmrec.recommenders.onerec.trie import Trie

FloatArray = npt.NDArray[np.float32]
_USERS_AT_ONCE = 32


class LanguageSearch:
    """A language model, its prompts and the IDs it may write.

    Args:
        network: The model, in evaluation mode.
        prompts: How histories are written.
        trie: The semantic IDs, on the model's device.
        first: Token of the first code of the first level.
        history: Newest items of a history that are read.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        prompts: Prompts,
        trie: Trie,
        first: int,
        history: int,
    ) -> None:
        self._prompts, self._trie, self._history = prompts, trie, history
        self._steps = LanguageSteps(network.model, first, trie.sizes)
        self._device = next(network.parameters()).device

    def lists(
        self,
        histories: Histories,
        width: int,
        items: int = 1,
        exclude_seen: bool = False,
        trie: Trie | None = None,
    ) -> Iterator[tuple[slice, BeamLists]]:
        """Search for every user, some users at a time.

        Args:
            histories: What users did.
            width: Beams per user.
            items: Items per list.
            exclude_seen: Refuse the items of the whole history.
            trie: A part of the IDs to search in, or None for all.

        Yields:
            Rows of ``histories``, and their lists.
        """
        trie = trie or self._trie
        for rows, block, state in self._begun(histories, items):
            limits: Limits | None = None
            if exclude_seen:
                limits = Exclusions.of_items(trie, block.items, block.offsets)
            found = beam_search(
                self._steps,
                state,
                trie,
                users=len(block),
                width=width,
                items=items,
                limits=limits,
            )
            yield rows, found

    @torch.inference_mode()
    def candidate_scores(self, histories: Histories, codes: npt.NDArray[np.int32]) -> FloatArray:
        """Exact log-probabilities of candidates as the next item, ``[n, C]``; 0 gets any score."""
        scores = np.empty(codes.shape, dtype=np.float32)
        table = self._trie.leaf_codes(torch.from_numpy(self._trie.item_leaves).to(self._device))
        for rows, _, state in self._begun(histories):
            items = torch.from_numpy(codes[rows].astype(np.int64)).to(self._device)
            ids = table[(items - 1).clamp_min(0)]
            total = torch.zeros(items.shape, device=self._device)
            for level in range(self._trie.depth):
                taken = None if level == 0 else ids[..., level - 1]
                same = torch.arange(items.shape[1], device=self._device).expand(items.shape)
                parents = None if level == 0 else torch.zeros_like(same) if level == 1 else same
                found = self._steps.step(state, level, taken, parents)
                logits = found.logits.float().expand(*items.shape, -1)
                chosen = logits.gather(2, ids[..., level, None]).squeeze(2)
                total += chosen - found.log_normalizer
            scores[rows] = total.cpu().numpy()
        return scores

    def _begun(
        self, histories: Histories, written: int = 1
    ) -> Iterator[tuple[slice, Histories, LanguageState]]:
        """Histories read; so many of their items that the list ends where the longest texts did."""
        read = max(1, self._history + 1 - written)
        for start in range(0, len(histories), _USERS_AT_ONCE):
            block = histories.block(start, start + _USERS_AT_ONCE)
            cut = block.last(read)
            items = padded(cut.items, cut.offsets[:-1], cut.lengths).to(self._device)
            state = self._steps.begin(*self._prompts.histories(items))
            yield slice(start, start + len(block)), block, state
