"""Lists that a policy writes for prompts, kept in parts on disk.

A folder holds ``rollouts.json``, which says whose lists these are (policy, prompts, lists per
prompt), and one parquet file per block of prompts. A part is whole or absent, so a job that was
killed goes on, and several processes (``--shard i/n``) fill one folder. Lists of another policy
are refused: what they were written by is the reference of what is learnt from them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.data.hashing import hash_arrays
from llmrec.data.histories import Histories
from llmrec.errors import ArtifactError
from llmrec.inference.shards import require_shard
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.serving import search, unseen_items
from llmrec.recommenders.onerec.trie import Trie
from llmrec.recommenders.onerec.writer import Writer
from llmrec.storage import atomic_file, read_json, write_json

ABOUT = "rollouts.json"
_BLOCK = 512
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists written for ``n`` prompts.

    Attributes:
        items: ``[n, N, m]`` int32 item codes, most probable list of a beam first; 0 where there is
            no list.
        log_probabilities: ``[n, N]`` float32 of whole lists under the policy; -inf where none.
    """

    items: npt.NDArray[np.int32]
    log_probabilities: npt.NDArray[np.float32]

    def beside(self, others: "Lists") -> "Lists":
        """These and, after them, other lists of the same prompts and as many items."""
        items = np.concatenate([self.items, others.items], axis=1)
        scores = np.concatenate([self.log_probabilities, others.log_probabilities], axis=1)
        return Lists(items, scores)


class Rollouts:
    """The lists of one policy for one set of prompts, in a folder.

    Args:
        folder: Where they lie or will lie.
        prompts: Histories.
        lists: Lists per prompt.
        items: Items per list.
        policy: Version of the policy that is to write them.
        allow_stale: Accept lists that another policy wrote.

    Raises:
        ArtifactError: The folder holds lists of other prompts or another shape, or of another
            policy without ``allow_stale``.
    """

    def __init__(
        self,
        folder: str | Path,
        prompts: Histories,
        lists: int,
        items: int,
        policy: str,
        allow_stale: bool = False,
    ) -> None:
        self.folder, self.prompts = Path(folder), prompts
        self.shape = lists, items
        arrays: dict[str, npt.NDArray[Any]] = {"items": prompts.items, "offsets": prompts.offsets}
        self.about: dict[str, Any] = {
            "format": _FORMAT,
            "policy": policy,
            "prompts": hash_arrays(arrays)[:16],
            "lists": lists,
            "items": items,
            "block": _BLOCK,
        }
        self._adopt(allow_stale)

    @property
    def policy(self) -> str:
        """Version of the policy that wrote the lists."""
        return str(self.about["policy"])

    @property
    def count(self) -> int:
        """How many parts there are when all is done."""
        return -(-len(self.prompts) // _BLOCK)

    def pending(self, shard: tuple[int, int] = (1, 1)) -> list[int]:
        """Parts of a shard ``(i, n)`` that are not there yet, ``i`` from 1.

        Raises:
            ConfigError: ``i`` is not between 1 and ``n``.
        """
        number, of = shard
        require_shard(number, of)
        mine = range(number - 1, self.count, of)
        return [part for part in mine if not self._path(part).is_file()]

    def block(self, part: int) -> Histories:
        """The prompts of a part."""
        return self.prompts.block(part * _BLOCK, min((part + 1) * _BLOCK, len(self.prompts)))

    def keep(self, part: int, found: Lists) -> None:
        """Write a part."""
        if not (self.folder / ABOUT).is_file():
            write_json(self.folder / ABOUT, self.about)
        n, lists, m = found.items.shape
        frame = pl.DataFrame(
            {
                "prompt": np.repeat(np.arange(n) + part * _BLOCK, lists),
                "items": pl.Series(found.items.reshape(-1, m), dtype=pl.Array(pl.Int32, m)),
                "log_probability": found.log_probabilities.ravel(),
            }
        )
        with atomic_file(self._path(part)) as temporary:
            frame.write_parquet(temporary)

    def load(self) -> Lists:
        """All lists, in the order of the prompts.

        Raises:
            ArtifactError: Parts are missing; the sentence says which.
        """
        if missing := self.pending():
            raise ArtifactError(
                f"{self.folder} lacks {len(missing)} of {self.count} parts, the first is "
                f"{self._path(missing[0]).name}; run the shards that are missing."
            )
        frame = pl.concat([pl.read_parquet(self._path(part)) for part in range(self.count)])
        lists, m = self.shape
        if frame.height != len(self.prompts) * lists:
            raise ArtifactError(
                f"{self.folder} holds {frame.height} lists, not {lists} for each of "
                f"{len(self.prompts)} prompts; remove it and write them again."
            )
        items = frame["items"].to_numpy().reshape(-1, lists, m)
        return Lists(items, frame["log_probability"].to_numpy().reshape(-1, lists))

    def _path(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.parquet"

    def _adopt(self, allow_stale: bool) -> None:
        """Take over what is there, or refuse it by name."""
        if not (self.folder / ABOUT).is_file():
            return
        there = read_json(self.folder / ABOUT)
        unlike = [n for n, value in self.about.items() if n != "policy" and there.get(n) != value]
        if unlike:
            raise ArtifactError(
                f"{self.folder} holds lists of another job (unlike: {', '.join(unlike)}); use the "
                "settings it was made with, or remove it."
            )
        if there["policy"] == self.policy:
            return
        if not allow_stale:
            raise ArtifactError(
                f"the lists in {self.folder} were written by policy {there['policy']}, but the "
                f"policy now is {self.policy}; remove the folder to write them again, or set "
                "allow_stale to learn from them all the same."
            )
        self.about["policy"] = there["policy"]


def roll_out(
    rollouts: Rollouts,
    writer: Writer,
    trie: Trie,
    shard: tuple[int, int] = (1, 1),
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the parts of a shard that are missing.

    Args:
        rollouts: Where they go.
        writer: The policy, in evaluation mode.
        trie: The semantic IDs.
        shard: ``(i, n)``, ``i`` from 1: this process writes every n-th part.
        progress: Told the number of every part when it is there.

    Returns:
        How many parts were written.

    Raises:
        ArtifactError: Parts are missing that only another policy could have written.
    """
    waiting = rollouts.pending(shard)
    if waiting and weights_version(writer.network) != rollouts.policy:
        raise ArtifactError(
            f"{rollouts.folder} lacks parts of policy {rollouts.policy}, which the policy now "
            "cannot write; remove the folder."
        )
    for part in waiting:
        found = written_lists(writer, trie, rollouts.block(part), *rollouts.shape)
        rollouts.keep(part, found)
        if progress is not None:
            progress(part)
    return len(waiting)


def written_lists(
    writer: Writer, trie: Trie, histories: Histories, lists: int, items: int
) -> Lists:
    """The most probable lists of unseen items for every history.

    Args:
        writer: In evaluation mode.
        trie: The semantic IDs.
        histories: ``[n]``.
        lists: Lists per history.
        items: Items per list.
    """
    found = Lists(
        np.zeros((len(histories), lists, items), dtype=np.int32),
        np.full((len(histories), lists), -np.inf, dtype=np.float32),
    )
    for rows, beams in search(writer, trie, histories, lists, items, exclude_seen=True):
        width = beams.scores.shape[1]
        block = histories.block(rows.start, rows.stop)
        found.items[rows, :width] = unseen_items(trie, beams.leaves, block)
        found.log_probabilities[rows, :width] = beams.scores.cpu().numpy()
    return found
