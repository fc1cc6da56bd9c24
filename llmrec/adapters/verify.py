"""Does an exported adapter say what the model said? Compared in log-probabilities.

The same tokens go through the gated model in memory and through the base model with the exported
folder loaded by peft.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor, nn

from llmrec.adapters.experts import BaseModelId, Experts
from llmrec.adapters.gated_lora import GatedLora
from llmrec.adapters.materialise import DTYPES
from llmrec.errors import ConfigError, nearest_name

TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.25, "float16": 0.05}
"""Largest difference of a log-probability that still counts as equal, per dtype of the model."""


@dataclass(frozen=True)
class Verification:
    """Outcome of a comparison.

    Attributes:
        dtype: Arithmetic of the model.
        largest: Largest absolute difference of a log-probability.
        tolerance: What was allowed.
    """

    dtype: str
    largest: float
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether the two agree."""
        return self.largest <= self.tolerance


def verify_export(
    model: nn.Module,
    experts: Experts,
    weights: Tensor,
    folder: str | Path,
    dtype: str = "float32",
    ids: Tensor | None = None,
    base_name: str | None = None,
) -> Verification:
    """Compare the gated model with an exported adapter.

    Args:
        model: The base model without adapters; it is copied and left as it is.
        experts: What was learnt.
        weights: ``[gates, blocks]`` of the user.
        folder: The exported adapter.
        dtype: Arithmetic of the comparison.
        ids: ``[n, T]`` tokens; None draws 4 rows of 24.
        base_name: What the base model is called.

    Raises:
        ConfigError: ``dtype`` is unknown.
        ArtifactError: The base model is not the experts'.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}{nearest_name(dtype, DTYPES)}.")
    experts.base.require(BaseModelId.of(model, base_name))
    base = copy.deepcopy(model).eval()
    if ids is None:
        size = int(base.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, size, (4, 24), generator=generator)
    ids = ids.to(next(base.parameters()).device)
    gated = GatedLora(copy.deepcopy(base), experts.config, base_name).load_experts(experts)
    gated = gated.to(DTYPES[dtype]).eval()
    plain = PeftModel.from_pretrained(
        base.to(DTYPES[dtype]), str(folder), autocast_adapter_dtype=False
    ).eval()
    with torch.inference_mode():
        own = weights.to(ids.device, DTYPES[dtype]).unsqueeze(0)
        # the fused route: the merged one would repeat the sums of the export
        left = gated(input_ids=ids, gate_weights=own, route="fused").logits.double().log_softmax(-1)
        right = plain(input_ids=ids).logits.double().log_softmax(-1)
    return Verification(dtype, float((left - right).abs().max()), TOLERANCE[dtype])
