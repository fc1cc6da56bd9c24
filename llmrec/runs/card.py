"""The model card of a run, generated from what the run's files say.

Texts come from recipes and data and are treated as hostile: the template engine is sandboxed and
line breaks and table bars are taken out of every value.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2.sandbox import SandboxedEnvironment


def render_card(
    info: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    load_from: str,
    neighbors: Mapping[str, Any] | None = None,
) -> str:
    """Write the card.

    Args:
        info: The content of ``run.yaml``.
        evaluations: Contents of ``metrics.json`` and ``validation.json``, those that exist.
        load_from: What to pass to ``llmrec.load``.
        neighbors: The content of ``neighbors.json``, if there is one.

    Returns:
        Markdown with the front matter of the Hugging Face hub.
    """
    template = resources.files("llmrec.runs").joinpath("templates/card.md.j2")
    environment = SandboxedEnvironment(
        autoescape=False, trim_blocks=False, keep_trailing_newline=True, finalize=_tame
    )
    recipe = info["recipe"]
    protocol = dict(evaluations[0].get("protocol", {})) if evaluations else {}
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        name=recipe["name"],
        description=recipe["description"],
        model=recipe["model"]["name"],
        task=info["task"]["name"],
        seed=info["seed"],
        dataset=info["dataset"],
        split=info["split"],
        seen=info.get("seen", []),
        sessions=info.get("sessions", {}).get("told"),
        protocol=_short_values(protocol),
        tables=[(_title(result), _rows(result)) for result in evaluations],
        load_from=load_from,
        neighbors=_neighbor_lines(neighbors or {}),
    )


def _tame(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.replace("|", "/").replace("`", "'").split())
    return value


def _title(result: Mapping[str, Any]) -> str:
    part = {"valid": "validation", "test": "test"}.get(str(result["part"]), str(result["part"]))
    return f"Metrics on the {part} part of {result['task']}"


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for metric, value in result["metrics"].items():
        if value.get("mean") is None:
            continue
        low, high = value.get("ci95") or (None, None)
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        row = {"metric": metric, "mean": value["mean"], "interval": interval}
        rows.append(row | {"n": value.get("n", "")})
    return rows


def _neighbor_lines(neighbors: Mapping[str, Any]) -> list[str]:
    """One line about the neighbours of sequences and one about those of items."""
    sequences, items = neighbors.get("sequences") or {}, neighbors.get("items") or {}
    lines = []
    if sequences:
        lines.append(
            f"Sequences: {_percent(sequences.get('same_user_slots'))} of the neighbours are of the "
            f"same user; {_percent(sequences.get('holds_target'))} of the sequences have a "
            "neighbour that holds their next item, "
            f"{_percent(sequences.get('same_next'))} one that is followed by it."
        )
    if items.get("same_category_slots") is not None:
        lines.append(
            f"Items: {_percent(items['same_category_slots'])} of the neighbours have the item's "
            f"category; {_percent(items.get('same_category_slots_by_chance'))} would by chance."
        )
    return lines


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.1f} %"


def _short_values(protocol: Mapping[str, Any]) -> dict[str, str]:
    short = {}
    for key, value in protocol.items():
        if isinstance(value, str | int | float | bool):
            short[key] = str(value)
        elif isinstance(value, list) and value and not isinstance(value[0], dict | list):
            short[key] = ", ".join(map(str, value))
    return short
