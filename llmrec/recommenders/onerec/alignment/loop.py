"""Iterative preference alignment: write lists, judge them, learn from the best and the worst.

Every iteration has a folder, and every stage in it is whole or absent: ``rollouts/`` in parts,
``pairs.parquet``, ``checkpoints/`` of its training, and last ``policy.safetensors`` with
``iteration.json``. A run that was killed goes on where it stopped, between and inside iterations,
to the same bits on the same machine; ``about.json`` says what the iterations were made with, and
another alignment does not go on with them. The reference of an iteration is the policy that the
iteration before left behind; its log-probabilities are stored with the pairs.

Alignment stops early where the validation metric falls below its floor and where an iteration has
nothing better to offer than the one before; the last good policy is kept. An iteration without a
single pair trains nothing: its policy is the one before, and the next draws other prompts.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.recommenders.onerec.alignment.beforehand import require_reward_model, require_settings
from llmrec.recommenders.onerec.alignment.composing import composed_lists
from llmrec.recommenders.onerec.alignment.config import AlignmentConfig
from llmrec.recommenders.onerec.alignment.continuing import (
    CHANGES_NOTHING,
    begin_anew,
    keep_about,
    keep_finished,
    require_alike,
    told,
)
from llmrec.recommenders.onerec.alignment.iteration import CHOOSES, Iteration, Watched, best_of
from llmrec.recommenders.onerec.alignment.objective import AlignedPolicy, AlignmentRows
from llmrec.recommenders.onerec.alignment.pairs import Pairs, judge_lists, make_pairs, pick_pairs
from llmrec.recommenders.onerec.alignment.prompts import draw_prompts
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.rollouts import Lists, Rollouts, roll_out
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.alignment.watching import Watch, guarded, holds
from llmrec.recommenders.onerec.list_recommender import ListRecommender
from llmrec.recommenders.onerec.validation import beam_metrics
from llmrec.recommenders.onerec.writer import Writer
from llmrec.storage import atomic_file, read_json, write_json
from llmrec.training.setup import processes
from llmrec.training.trainer import Trainer

_DONE, _POLICY, _PAIRS = "iteration.json", "policy.safetensors", "pairs.parquet"
_SLOWER = 3.0  # by how much a second attempt learns more slowly

Also = Callable[[ListRecommender[Any]], Watched]


class Alignment:
    """The loop over one fitted model, whose network is changed in place.

    Args:
        model: A fitted writer of lists.
        train: The training events it was fitted on.
        valid: Cases whose metric must not fall.
        reward: The reward model, in evaluation mode.
        config: The settings.
        folder: Where iterations are kept.
        resume: Go on with what the folder holds; otherwise an alignment there that came to its end
            is removed. More iterations may be asked for than before, but nothing else may differ.
        also: Further figures of the model after every iteration; they are only reported.

    Attributes:
        items: Items of a list.

    Raises:
        ConfigError: The model writes single items only, the metric is none, or the reward model is
            of other items or of shorter lists.
        ArtifactError: The folder holds something else than an alignment, or without ``resume`` one
            that was broken off, or with it iterations of other settings, another policy to start
            from, another reward model or other events. It is left as it is.
    """

    def __init__(
        self,
        model: ListRecommender[Any],
        train: Histories,
        valid: Cases,
        reward: RewardModel,
        config: AlignmentConfig,
        folder: str | Path,
        resume: bool = False,
        also: Also | None = None,
    ) -> None:
        self.items = model.longest_session
        require_settings(config, self.items)
        require_reward_model(reward, model.vocabulary, self.items)
        self.model, self.config, self.folder = model, config, Path(folder)
        self._train, self._valid, self._also = train, valid, also
        self._reward = reward.to(self._policy.codes.device).eval()
        self._judge = weights_version(reward)
        self._state = processes()
        self._write: Callable[[], object] | None = None
        if not resume:
            begin_anew(self.folder, self._state)
        self._take_over()
        seed = config.training.seed
        kept = np.random.default_rng(seed).permutation(len(valid))[: config.watched]
        self._watch = Watch(
            valid.histories.take(np.sort(kept)),
            model.trie,
            self._reward,
            min(config.lists, model.config.beam),
            self.items,
        )

    def _take_over(self) -> None:
        """Refuse iterations of another alignment, or say of which those to come are."""
        policy = self._version()
        about = told(self.config, self._train, policy, self._judge)
        require_alike(self.folder, about)
        self._state.wait_for_everyone()  # nobody writes before everybody has looked
        if self._state.is_main_process:
            keep_about(self.folder, about)

    def run(self, write: Callable[[], object] | None = None) -> list[Iteration]:
        """All iterations; the first entry is the policy before alignment.

        Args:
            write: Called by the main process in every iteration before its lists are looked for, as
                ``lambda: loop.roll_out_on_ray(workers=8)``; what it leaves out is written here.
        """
        self._write = write
        done = [self._before()]
        self._floor = done[0].figures[self._metric] * (1 - self.config.most_loss)
        for number in range(1, self.config.iterations + 1):
            done.append(self._iteration(number, done[-1]))
            if not done[-1].kept:
                break
        if self._state.is_main_process:
            keep_finished(self.folder, len(done) - 1)
        return done

    def roll_out(self, shard: tuple[int, int]) -> int:
        """Write this shard's lists of the iteration that is under way; returns how many parts.

        None is under way after the last one, or after one whose policy was not kept.
        """
        rollouts = self._under_way()
        return 0 if rollouts is None else roll_out(rollouts, self._policy, self.model.trie, shard)

    def roll_out_on_ray(self, workers: int = 2, cpus: int = 1, gpus: float = 0) -> int:
        """As :meth:`roll_out`, by workers of Ray, which are sent the model as it is now.

        The arguments and errors are those of :func:`~.on_ray.roll_out_on_ray`.
        """
        from llmrec.recommenders.onerec.alignment import on_ray

        rollouts = self._under_way()
        if rollouts is None:
            return 0
        return on_ray.roll_out_model_on_ray(
            rollouts, self.model, workers=workers, cpus=cpus, gpus=gpus
        )

    def _under_way(self) -> Rollouts | None:
        """Where the lists of the first iteration without an end go, with the policy to write."""
        number = 1
        while (self._place(number) / _DONE).is_file():
            if not read_json(self._place(number) / _DONE)["kept"]:
                return None
            self._load(number)
            number += 1
        return None if number > self.config.iterations else self._rollouts(number)

    @property
    def _metric(self) -> str:
        return self.config.training.metric

    @property
    def _policy(self) -> Writer:
        return self.model.writer

    def _version(self) -> str:
        return weights_version(self._policy.network)

    def _place(self, number: int) -> Path:
        return self.folder / f"iteration-{number:02d}"

    def _before(self) -> Iteration:
        file = self.folder / "before.json"
        if not file.is_file():
            if self._state.is_main_process:
                figures = self._with_others(self._watched(None))
                found = Iteration(0, self._version(), figures)
                write_json(file, asdict(found))
            self._state.wait_for_everyone()
        return Iteration(**read_json(file))

    def _iteration(self, number: int, before: Iteration) -> Iteration:
        place = self._place(number)
        if (place / _DONE).is_file():
            self._load(number)
            return Iteration(**read_json(place / _DONE))
        pairs = self._pairs(number)
        reference = self._policy.copied()
        log = self._learn(number, pairs, reference) if pairs.frame.height else []
        figures = self._with_others(best_of(log) or self._watched(reference))
        better = self._holds(figures) and self._guarded(figures) > self._guarded(before.figures)
        kept = better or not pairs.frame.height  # without pairs it is the policy before
        if not kept:
            self._policy.network.load_state_dict(reference.network.state_dict())
        version = self._version()
        found = Iteration(number, version, figures, pairs.counts, log, kept)
        if self._state.is_main_process:
            with atomic_file(place / _POLICY) as temporary:
                weights = self._policy.network.state_dict()
                save_file({k: v.cpu().contiguous() for k, v in weights.items()}, temporary)
            write_json(place / _DONE, asdict(found))
            shutil.rmtree(place / "checkpoints", ignore_errors=True)
        self._state.wait_for_everyone()
        return found

    def _load(self, number: int) -> None:
        self._policy.network.load_state_dict(load_file(self._place(number) / _POLICY))

    def _rollouts(self, number: int) -> Rollouts:
        config = self.config
        prompts = draw_prompts(self._train, config.share, config.training.seed, number)
        return Rollouts(
            self._place(number) / "rollouts",
            prompts,
            config.lists,
            self.items,
            self._version(),
            config.allow_stale,
        )

    def _pairs(self, number: int) -> Pairs:
        """Write what is missing of lists and pairs, every process its share of the lists."""
        place, state = self._place(number), self._state
        rollouts = self._rollouts(number)
        if not (place / _PAIRS).is_file():
            if self._write is not None and state.is_main_process:
                self._write()
            state.wait_for_everyone()
            share = (state.process_index + 1, state.num_processes)
            roll_out(rollouts, self._policy, self.model.trie, share)
            state.wait_for_everyone()
            if state.is_main_process:
                self._judged(number, rollouts).save(place / _PAIRS)
            state.wait_for_everyone()
        return Pairs.load(place / _PAIRS, self._version(), self._judge)

    def _judged(self, number: int, rollouts: Rollouts) -> Pairs:
        config, lists = self.config, rollouts.load()
        if config.compose_from:
            lists = lists.beside(self._composed(rollouts.prompts))
        judged = judge_lists(self._reward, rollouts.prompts, lists)
        picked = pick_pairs(
            judged.rewards, config.min_gap, config.pick, config.training.seed + number
        )
        versions = (self._version(), self._judge)
        return make_pairs(
            rollouts.prompts, lists, judged, picked, self._policy, self._reward, versions
        )

    def _composed(self, prompts: Histories) -> Lists:
        """A list of every prompt that is put together by reward."""
        policy, pool = self._policy, self.config.compose_from
        return composed_lists(policy, self.model.trie, self._reward, prompts, pool, self.items)

    def _learn(self, number: int, pairs: Pairs, reference: Writer) -> list[dict[str, Any]]:
        """Train; where the metric falls too far, from the start again and more slowly."""
        log: list[dict[str, Any]] = []
        for attempt in range(self.config.retries + 1):
            self._policy.network.load_state_dict(reference.network.state_dict())
            log = self._attempt(number, attempt, pairs, reference)
            if any(self._holds(row["valid"]) for row in log if "valid" in row):
                break
        return log

    def _attempt(
        self, number: int, attempt: int, pairs: Pairs, reference: Writer
    ) -> list[dict[str, Any]]:
        config, policy = self.config, self._policy
        # every iteration has a seed of its own, or all would draw one order of rows
        update = {
            "metric": CHOOSES,
            "seed": config.training.seed + number,
            "learning_rate": config.training.learning_rate / _SLOWER**attempt,
        }
        training = config.training.model_copy(update=update)
        rows = AlignmentRows(
            self.model.training_rows(self._train), pairs, policy.newest(self.items), training.seed
        )

        def validate() -> Watched:
            figures = self._watched(reference)
            return {**figures, CHOOSES: self._guarded(figures)}

        lasting = config.model_dump(mode="json", exclude={"training", *CHANGES_NOTHING})
        about = {**lasting, "policy": pairs.policy}
        checkpoints = self._place(number) / "checkpoints" / f"attempt-{attempt}"
        trainer = Trainer(training, checkpoints, resume=True, model_settings=about)
        log = trainer.fit(AlignedPolicy(policy, config), rows, validate)
        policy.network.eval()
        return log

    def _holds(self, figures: Watched) -> bool:
        return holds(figures, self._metric, self._floor)

    def _guarded(self, figures: Watched) -> float:
        return guarded(figures, self._metric, self._floor, self._reward.least_reward)

    def _with_others(self, figures: dict[str, float]) -> Watched:
        """Figures with those that are only reported."""
        return figures if self._also is None else {**figures, **self._also(self.model)}

    @torch.inference_mode()
    def _watched(self, reference: Writer | None) -> dict[str, float]:
        policy = self._policy
        metric = beam_metrics(
            policy,
            self.model.trie,
            self._valid,
            [self._metric],
            self.model.config.beam,
            self.model.config.validation_filters_seen,
        )
        return {**metric, **self._watch.figures(policy, reference)}
