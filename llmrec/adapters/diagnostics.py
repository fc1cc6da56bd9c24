"""Is a store healthy? Plain values that tell working gates and experts from collapsed ones."""

from typing import Any

import torch

from llmrec.adapters.config import GatedLoraConfig
from llmrec.adapters.gated_lora import expert_similarity
from llmrec.adapters.gates import gate_diagnostics
from llmrec.adapters.store import AdapterStore

_EVEN, _ALIKE, _SAME = 0.99, 0.9, 1e-5


def diagnose(store: AdapterStore, sample: int = 5_000) -> dict[str, Any]:
    """What a report shows about a store.

    Args:
        store: The store.
        sample: Most users whose gates are looked at, evenly spread over the order in which they
            came.

    Returns:
        What :meth:`AdapterStore.stats` counts, ``bytes_per_user`` and ``database_bytes``;
        of gates (None without users) ``gate_entropy`` (share of log K, 1 is an even mixture),
        ``gate_variance`` (across users) and ``largest_load``; ``expert_cosine`` (1 means that
        all experts are the same); ``hit_rate`` and ``fallback_rate`` of what this process served
        (None before anything was); and ``warnings``, one sentence for each sign of a collapse.
    """
    found: dict[str, Any] = dict(store.stats())
    found |= _sizes(store) | _gates(store, sample) | _rates(found)
    found["expert_cosine"] = expert_similarity(store.experts)
    found["warnings"] = _warnings(store, found)
    return found


def _sizes(store: AdapterStore) -> dict[str, Any]:
    files = [path for path in store.folder.glob("store.sqlite*") if path.is_file()]
    total, users = sum(path.stat().st_size for path in files), len(store.gates)
    return {"database_bytes": total, "bytes_per_user": total / users if users else None}


def _gates(store: AdapterStore, sample: int) -> dict[str, Any]:
    gates = store.gates.sample(sample)
    if not len(gates):
        return {"gate_entropy": None, "gate_variance": None, "largest_load": None}
    values = gate_diagnostics(torch.from_numpy(gates), store.experts.config.gate_activation)
    return {
        "gate_entropy": values["entropy"],
        "gate_variance": values["variance_across_users"],
        "largest_load": values["largest_load"],
    }


def _rates(counted: dict[str, Any]) -> dict[str, Any]:
    asked = counted["found"] + counted["made"]
    served = sum(value for name, value in counted.items() if name.startswith("served_"))
    return {
        "hit_rate": counted["found"] / asked if asked else None,
        "fallback_rate": counted["fallbacks"] / served if served else None,
    }


def collapse_warnings(
    config: GatedLoraConfig, entropy: float | None, variance: float | None, similarity: float
) -> list[str]:
    """A sentence for each sign that gates or experts collapsed.

    Args:
        config: Settings of the experts; a single one, or weights of ranks, cannot collapse.
        entropy: Of the gates, as a share of log K; None where there is none.
        variance: Of a weight across users; None where there is none.
        similarity: Mean cosine between experts.
    """
    if config.blocks == 1 or config.compose == "rank_scale":
        return []
    warnings = []
    if entropy is not None and entropy > _EVEN:
        warnings.append(
            "Gates are almost even mixtures: experts are hardly told apart. Lower the "
            "temperature, or train longer."
        )
    if variance is not None and variance < _SAME:
        warnings.append(
            "Users have almost the same gates, so their adapters are almost the same: the gate's "
            "input may not tell users apart."
        )
    if similarity > _ALIKE:
        warnings.append(
            "Experts are almost copies of each other: start B with noise (b_noise), or add a "
            "balance loss."
        )
    return warnings


def _warnings(store: AdapterStore, found: dict[str, Any]) -> list[str]:
    told = (found[name] for name in ("gate_entropy", "gate_variance", "expert_cosine"))
    warnings = collapse_warnings(store.experts.config, *told)
    if found["damaged"]:
        warnings.append(f"{found['damaged']} damaged adapters were found and removed.")
    return [*warnings, *_lost(found)]


def _lost(found: dict[str, Any]) -> list[str]:
    if found["evicted"] > max(10, found["found"]):
        return ["Adapters are evicted more often than found: raise the byte budget, or cluster."]
    return []
