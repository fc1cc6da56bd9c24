"""The CTR model of a RecLoRA: which one its settings describe, and whether a given one is it."""

from typing import Any

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.splits import Cases, LabelledCases
from llmrec.errors import ConfigError, DataError, ProtocolError
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


def fitted_ctr(
    config: RecLoRAConfig,
    checkpointing: Checkpointing,
    catalog: Catalog | None,
    judged: LabelledCases | None,
    train: Histories,
    valid: Cases | None,
) -> CTRModel[Any]:
    """The CTR model that settings describe, fitted with what the whole was given."""
    ctr = new_ctr(config, checkpointing)
    if catalog is not None:
        ctr.use_catalog(catalog)
    if judged is not None:
        ctr.use_judged(judged)
    return ctr.fit(train, valid)


def require_described(ctr: CTRModel[Any], config: RecLoRAConfig) -> None:
    """Refuse a CTR model of another class or with other settings than those described.

    Raises:
        ConfigError: The sentence shows both.
    """
    wanted = new_ctr(config)
    if type(ctr) is not type(wanted) or ctr.config != wanted.config:
        raise ConfigError(
            f"use_ctr was given another CTR model than the settings describe: {ctr.name} "
            f"{ctr.config!r}, expected {wanted.name} {wanted.config!r}."
        )


def require_fitted_on(ctr: CTRModel[Any], train: Histories, until: int | None) -> None:
    """Refuse a given CTR model that learnt other events than it would have been given here.

    Args:
        ctr: The model.
        train: The training histories.
        until: Unix seconds before which the events lie that it is to learn; None for all.

    Raises:
        DataError: It knows other items.
        ProtocolError: It learnt up to another moment, or events of another origin.
    """
    if ctr.vocabulary.fingerprint != train.vocabulary.fingerprint:
        raise DataError("the CTR model of use_ctr knows other items than these histories.")
    if ctr.trained_until != until:
        found, wanted = (
            "all events" if moment is None else f"the events before {moment}"
            for moment in (ctr.trained_until, until)
        )
        raise ProtocolError(
            f"the CTR model of use_ctr learnt {found} of its histories, but of these it is to "
            f"learn {wanted}; fit it on the same training histories."
        )
    origin = train.origin
    if origin is not None and origin not in ctr.seen:
        seen = "; ".join(
            f"{each.dataset} up to part {each.part} of split {each.split_hash}" for each in ctr.seen
        )
        raise ProtocolError(
            f"the CTR model of use_ctr was fitted on {seen or 'events of unknown origin'}, but "
            f"these are {origin.dataset} up to part {origin.part} of split {origin.split_hash}; "
            "fit it on the same training histories."
        )
