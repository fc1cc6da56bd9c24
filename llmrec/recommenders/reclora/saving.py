"""A trained RecLoRA as named arrays and back; what belongs together is checked by hash.

Saved are experts, gates, the CTR model and what the text side searches by. The base model is not
saved but named, and so is its tokenizer: both must be those of the training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from llmrec.adapters.bundle import Bundle
from llmrec.adapters.experts import BaseModelId, Experts
from llmrec.data.histories import Origin
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError
from llmrec.recommenders.ctr import CTRModel
from llmrec.recommenders.reclora.base_model import BaseModel, open_base
from llmrec.recommenders.reclora.config import RecLoRAConfig
from llmrec.recommenders.reclora.ctr_part import new_ctr
from llmrec.recommenders.reclora.questions import Questions, arrays_of, item_names
from llmrec.recommenders.reclora.ranker import Ranker
from llmrec.recommenders.reclora.states import GateInputs
from llmrec.recommenders.reclora.training import make_ranker

Arrays = dict[str, npt.NDArray[Any]]


def state_of(ranker: Ranker) -> Arrays:
    """Everything that is not about single users."""
    found: Arrays = {"prior": ranker.prior}
    tensors = ranker.lora.experts().tensors
    found |= {f"experts.{name}": tensor.numpy() for name, tensor in tensors.items()}
    found |= {f"ctr.{name}": array for name, array in ranker.ctr._state().items()}
    found |= arrays_of(ranker.questions)
    if ranker.inputs is not None:
        found |= {f"inputs.{name}": array for name, array in ranker.inputs.arrays().items()}
    return found


def personal_state_of(ranker: Ranker) -> Arrays:
    """What was learnt about single users."""
    found = {f"ctr.{name}": array for name, array in ranker.ctr._personal_state().items()}
    if ranker.inputs is None:
        return found
    personal = ranker.inputs.personal_arrays()
    return found | {f"inputs.{name}": array for name, array in personal.items()}


def bundle_of(ranker: Ranker, base: BaseModel, origin: Origin | None) -> Bundle:
    """Hashes of what belongs together; ``origin`` is that of the training events."""
    return Bundle(
        base_model=base.identity.fingerprint,
        experts=ranker.lora.experts().fingerprint,
        tokenizer=base.tokens.fingerprint,
        ctr_model=ranker.ctr.fingerprint,
        vocabulary=ranker.ctr.vocabulary.fingerprint,
        split="" if origin is None else origin.split_hash,
    )


def restored(
    config: RecLoRAConfig,
    details: Mapping[str, Any],
    vocabulary: Vocabulary,
    titles: pl.Series | None,
    seen: Sequence[Origin],
    state: Mapping[str, npt.NDArray[Any]],
) -> Ranker:
    """A trained ranker from what was saved.

    Args:
        config: Settings.
        details: Of the model: ``bundle``, ``action`` and ``trained_until``.
        vocabulary: The items.
        titles: Their names, if they have any.
        seen: Where the training events came from.
        state: What :func:`state_of` and :func:`personal_state_of` gave; the latter may be missing.

    Raises:
        ArtifactError: The base model, its tokenizer, the prompt or the CTR model is another one;
            what is needed of users was left out; or the training did not come to an end.
    """
    if missing := {"bundle", "action", "trained_until"} - details.keys():
        raise ArtifactError(
            f"this reclora model lacks {', '.join(sorted(missing))} in its details: its training "
            "stopped half-way; train it again."
        )
    bundle = Bundle.from_dict(details["bundle"], "the model's details")
    base = open_base(config.base, config.base_dtype)
    require_same(bundle, base, config.base)
    ctr = new_ctr(config)
    restored_ctr(ctr, vocabulary, state)
    ctr.details["trained_until"], ctr._seen = details["trained_until"], tuple(seen)
    users_left_out = "ctr.user_keys" not in state and any(
        field.kind == "user" for field in config.ctr.fields
    )
    require_same_ctr(bundle, ctr, users_left_out)
    names = item_names(config, vocabulary, titles)
    questions = Questions(config, base.tokens, names, details["action"], state.get("similar"))
    if (asked := details.get("prompt", questions.prompt)) != questions.prompt:
        raise ArtifactError(
            f"this reclora model was trained with another text of the prompt {config.prompt!r} "
            f"({asked}, now {questions.prompt}); give back the text it had."
        )
    return restored_ranker(config, base, questions, ctr, state)


def restored_ctr(ctr: CTRModel[Any], vocabulary: Vocabulary, state: Mapping[str, Any]) -> None:
    """Fill an unfitted CTR model with what :func:`state_of` saved of it."""
    ctr._vocabulary = vocabulary
    ctr._load_state(_under("ctr.", state))


def restored_ranker(
    config: RecLoRAConfig,
    base: BaseModel,
    questions: Questions,
    ctr: CTRModel[Any],
    state: Mapping[str, npt.NDArray[Any]],
) -> Ranker:
    """Put saved experts and gates on a base model.

    Raises:
        ArtifactError: The experts do not fit, or states of users are needed and were left out.
    """
    arrays = _under("inputs.", state)
    if config.gate_control == "shuffled" and "strangers" not in arrays:
        raise ArtifactError(
            "this reclora model is the control gate_control=shuffled, which answers by the states "
            "of its training users, and it was saved without users; save it with include_users."
        )
    inputs = GateInputs.from_arrays(config.lora.gate_input, arrays) if arrays else None
    ranker = make_ranker(config, base, questions, ctr, inputs)
    tensors = {name: torch.from_numpy(a) for name, a in _under("experts.", state).items()}
    lora = ranker.lora
    try:
        lora.load_experts(Experts(lora.config_lora, tuple(lora.sites), lora.base_id, tensors))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"the saved experts do not fit the base model: {error}.") from None
    lora.eval()
    ranker.prior = np.asarray(state["prior"], dtype=np.float32)
    return ranker


def require_same(bundle: Bundle, base: BaseModel, name: str) -> None:
    """Refuse another base model or another tokenizer than those of the training.

    Raises:
        ArtifactError: The sentence says which of the two.
    """
    BaseModelId(name, bundle.base_model).require(base.identity)
    if bundle.tokenizer != base.tokens.fingerprint:
        raise ArtifactError(
            f"this reclora model was trained with the tokenizer {bundle.tokenizer}, but the one "
            f"of {name!r} is now {base.tokens.fingerprint}; give back the tokenizer it had."
        )


def require_same_ctr(bundle: Bundle, ctr: CTRModel[Any], users_left_out: bool) -> None:
    """Refuse a CTR model or items that the gates were not trained with.

    Args:
        bundle: Of the training.
        ctr: The CTR model that was loaded.
        users_left_out: Its vectors of users were not saved, so its hash says nothing.

    Raises:
        ArtifactError: The sentence says which of the two.
    """
    found = {"vocabulary": ctr.vocabulary.fingerprint}
    if not users_left_out:
        found["ctr_model"] = ctr.fingerprint
    for what, given in found.items():
        wanted = getattr(bundle, what)
        if wanted != given:
            raise ArtifactError(
                f"the gates of this reclora model were trained with the {what.replace('_', ' ')} "
                f"{wanted}, but the one here is {given}; train the gates again."
            )


def _under(prefix: str, state: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    return {n.removeprefix(prefix): a for n, a in state.items() if n.startswith(prefix)}
