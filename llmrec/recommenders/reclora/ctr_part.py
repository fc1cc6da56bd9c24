"""The CTR model of a RecLoRA: which one its settings describe."""

from typing import Any

from llmrec.recommenders.ctr import DIN, SIM, CTRModel, DeepFM
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.training import Checkpointing

_CLASSES: dict[str, type[CTRModel[Any]]] = {"din": DIN, "sim": SIM, "deepfm": DeepFM}


def new_ctr(config: RecLoRAConfig, checkpointing: Checkpointing | None = None) -> CTRModel[Any]:
    """The CTR model that settings describe, not fitted.

    Args:
        config: Settings of RecLoRA.
        checkpointing: Where its training keeps checkpoints; None keeps none.
    """
    choice = config.ctr.model_dump(exclude={"name"})
    choice["training"]["seed"] = config.training.seed
    choice["train_share"] = config.ctr_share
    cls = _CLASSES[config.ctr.name]
    kept = checkpointing or Checkpointing(None, False)
    return cls(cls.config_class(**choice), checkpoints=kept.of("ctr"), resume=kept.resume)
