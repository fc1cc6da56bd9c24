"""What recommenders share that the training loop trains: checkpoints, resuming, and the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel

from llmrec.data.histories import Histories
from llmrec.data.splits import Cases
from llmrec.recommenders.base import BaseRecommender
from llmrec.recommenders.learnt_events import events_hash
from llmrec.training.config import TrainingConfig
from llmrec.training.trainer import Trainer, Validate

if TYPE_CHECKING:
    from torch import nn

    from llmrec.training.batches import BatchSource

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class TrainedRecommender(BaseRecommender[ConfigT]):
    """A recommender with a network and settings ``training``.

    Args:
        config: Settings, or None to give them as keyword arguments.
        checkpoints: Directory for training checkpoints, or None for none.
        resume: Continue from the newest whole checkpoint there.
        options: Fields of ``config_class``.

    Attributes:
        log: Training and validation rows of the last fit.
    """

    def __init__(
        self,
        config: ConfigT | None = None,
        *,
        checkpoints: str | Path | None = None,
        resume: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(config, **options)
        self.checkpoints, self.resume = checkpoints, resume
        self.log: list[dict[str, Any]] = []
        self._training_events = ""

    def fit(self, train: Histories, valid: Cases | None = None) -> Self:
        """See the base class; a training is resumed on the same events only."""
        self._training_events = events_hash(train)
        return super().fit(train, valid)

    def _train(
        self,
        training: TrainingConfig,
        module: nn.Module,
        source: BatchSource,
        validate: Validate | None,
        **made_of: Any,
    ) -> None:
        """Train a module in place and keep the log.

        Args:
            training: Settings of the loop.
            module: Gives the loss of a batch.
            source: The training rows.
            validate: Returns the metric that is watched, or None.
            made_of: What else a checkpoint must have been made of to be resumed from, beside the
                settings; as JSON values.
        """
        settings = self.config.model_dump(mode="json", exclude={"training"}) | made_of
        settings["training_events"] = self._training_events
        trainer = Trainer(training, self.checkpoints, self.resume, model_settings=settings)
        self.log = trainer.fit(module, source, validate)
