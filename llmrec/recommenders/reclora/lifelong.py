"""Keeping a trained RecLoRA up to date as events come in (reclora.md 5.1).

Two things age. Gates of users are computed anew from their histories, without a gradient:
:func:`llmrec.adapters.refresh.refresh`. Experts and the gates' own weights learn newer rows here,
pulled to what they were, with some older rows again so that nothing is forgotten. The CTR model
stays frozen, and with it the scale of what gates read; base model and vocabulary stay, too.
Updated experts are other experts: they need a new adapter store, and the old one remains to go
back to.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmrec.data.histories import Histories
from llmrec.recommenders.reclora.model import RecLoRA
from llmrec.recommenders.reclora.rows import newer_rows
from llmrec.recommenders.reclora.training import continue_ranker
from llmrec.training.config import TrainingConfig


class ExpertUpdate(BaseModel):
    """How experts learn a newer slice of time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mu: float = Field(
        0.1, ge=0, description="Strength of the pull to the present weights; 0 is plain training."
    )
    replay: float = Field(0.5, ge=0, description="Earlier rows learnt again, per new row.")
    most: int = Field(70_000, ge=1, description="Most new events; drawn evenly.")
    seed: int = Field(0, ge=0, description="Of the rows that are drawn.")
    training: TrainingConfig = Field(
        default_factory=lambda: TrainingConfig(epochs=1, batch_size=128, learning_rate=1e-3),
        description="Settings of the training loop.",
    )


def update_experts(
    model: RecLoRA, histories: Histories, moment: int, update: ExpertUpdate | None = None
) -> list[dict[str, Any]]:
    """Let experts and gates learn what happened since a moment.

    Args:
        model: Fitted; its experts and gates change in place, and with them its bundle. What the
            histories came from is added to what the model has seen.
        histories: Whole histories of the users, with the model's vocabulary and a clock.
        moment: Unix seconds; judged events from then on are new.
        update: Settings.

    Returns:
        The log of the training loop; ``moved`` in its last row is the distance that weights went.

    Raises:
        ArtifactError: The model is not fitted.
        UnknownIdError: An item is not in the model's vocabulary.
        DataError: The histories have no clock, or no new event has an answer.
        TrainingError: The loss is not finite; the model is as it was before.
    """
    update = update or ExpertUpdate()
    ranker, histories = model.ranker, histories.with_vocabulary(model.vocabulary)
    rows = newer_rows(
        histories,
        ranker.ctr.trained_until,
        moment,
        update.most,
        update.replay,
        update.seed,
        model.config.negatives,
        model.config.ctr.liked_above,
    )
    log = continue_ranker(ranker, rows, update.training, update.mu)
    model._learnt_more(rows, histories.origin)
    return log
