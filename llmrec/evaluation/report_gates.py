"""The sections about personal adapters: gates of trained models, and stores that serve them.

A run that trained gates keeps ``gates.json``. A store is looked at when the report is made, or by
the process that serves it, which alone knows what it served; see
:func:`llmrec.adapters.diagnostics.diagnose` for what its figures mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.evaluation.display import plain
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours
from llmrec.evaluation.report_tables import ModelName, models_of
from llmrec.evaluation.report_told import Figure, ToldTable, texts, told_table

_EVEN = "entropy as a share of the largest: 1 is the same mixture of all experts for everybody"
_UNLIKE = "variance of a weight over users: 0 gives everybody the same adapter"
_ALIKE = "mean cosine between experts: 1 means that they are copies of each other"
_RUN = (
    Figure("Users looked at", "", "users", "count"),
    Figure("Experts", "", "experts", "count"),
    Figure("Evenness of gates", _EVEN, "entropy", "number"),
    Figure("Difference between users", _UNLIKE, "variance_across_users", "small"),
    Figure("Weight of the most used expert", "", "largest_load", "percent"),
    Figure("Likeness of experts", _ALIKE, "expert_similarity", "number"),
    Figure(
        "Served by the mean gate",
        "histories without events, of all that were scored while the run was made",
        "fallback_rate",
        "percent",
    ),
    Figure("Weights of a user", "as a store keeps them", "bytes_per_user", "bytes"),
)
_STORE = (
    Figure("Users", "", "users", "count"),
    Figure("Size of a user", "in the database, with its indices", "bytes_per_user", "bytes"),
    Figure("Evenness of gates", _EVEN, "gate_entropy", "number"),
    Figure("Difference between users", _UNLIKE, "gate_variance", "small"),
    Figure("Weight of the most used expert", "", "largest_load", "percent"),
    Figure("Likeness of experts", _ALIKE, "expert_cosine", "number"),
    Figure("Adapters on disk", "", "adapters", "count"),
    Figure("Size of the adapters", "", "adapter_bytes", "bytes"),
    Figure("Most they may take", "", "byte_budget", "bytes"),
)
_SERVED = (
    Figure("Requests", "", "requests", "count"),
    Figure("Without weights of their own", "served by a prior", "fallback_rate", "percent"),
    Figure("Adapter was there", "of all that were asked for", "hit_rate", "percent"),
    Figure("Made", "", "made", "count"),
    Figure("Evicted", "for want of space", "evicted", "count"),
    Figure("Expired", "because nobody asked for them", "expired", "count"),
    Figure("Damaged", "found by their hash, and made again", "damaged", "count"),
)


@dataclass(frozen=True)
class Warned:
    """Signs of a collapse, by the name of the model or store that has them."""

    name: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class GateSection:
    """Gates of the runs; ``models`` are those whose runs keep them."""

    models: tuple[ModelName, ...]
    table: ToldTable
    warnings: tuple[Warned, ...]


@dataclass(frozen=True)
class StoreSection:
    """Stores of adapters, side by side; ``idle`` are those that served nothing yet."""

    names: tuple[str, ...]
    tables: tuple[ToldTable, ...]
    idle: tuple[str, ...]
    warnings: tuple[Warned, ...]


def gate_section(runs: Sequence[ReportRun], colours: Colours) -> GateSection | None:
    """The section, or None where no run keeps gates."""
    named = zip(runs, models_of(runs, colours), strict=True)
    found = [(model, run.gates) for run, model in named if run.gates is not None]
    if not found:
        return None
    return GateSection(
        tuple(model for model, _ in found),
        told_table("Gates and experts", _RUN, [values for _, values in found]),
        _warned((model.name, values) for model, values in found),
    )


def store_section(stores: Sequence[tuple[str, Mapping[str, Any]]]) -> StoreSection | None:
    """The section, or None without stores.

    Args:
        stores: Names, and what ``diagnose`` found.
    """
    if not stores:
        return None
    told = [(plain(name, 60), _with_requests(values)) for name, values in stores]
    tables = [
        told_table("Adapter store", _STORE, [values for _, values in told]),
        told_table("Served", _SERVED, [values for _, values in told]),
    ]
    return StoreSection(
        tuple(name for name, _ in told),
        tuple(table for table in tables if table.rows),
        tuple(name for name, values in told if "requests" not in values),
        _warned(told),
    )


def _with_requests(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add how many requests were served; without any, take out what then says nothing."""
    served = [n for name, n in values.items() if name.startswith("served_") and isinstance(n, int)]
    if sum(served):
        return {**values, "requests": sum(served)}
    silent = {figure.path for figure in _SERVED}
    return {name: value for name, value in values.items() if name not in silent}


def _warned(told: Any) -> tuple[Warned, ...]:
    found = [Warned(name, texts(values.get("warnings"), 300)) for name, values in told]
    return tuple(one for one in found if one.sentences)
