"""The section of the report about alignment, for runs that keep ``alignment.json``.

Curves over iterations stand side by side: what was optimised (model reward), what it should bring
(the truth, where the data are simulated), and what must not be lost (the validation metric,
diversity). Titles in the sessions are foreign text: made plain here, escaped by the template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmrec.evaluation.display import count, plain
from llmrec.evaluation.report_charts import line_chart
from llmrec.evaluation.report_data import ReportRun
from llmrec.evaluation.report_figures import Colours
from llmrec.evaluation.report_shapes import LineChart, Named, Value
from llmrec.evaluation.report_tables import ModelName, models_of
from llmrec.evaluation.report_told import objects, texts

_SHOWN = 4  # users of each model

# figure, title, what is drawn
_CURVES = (
    ("reward", "Model reward", "reward model's mean"),
    ("true_reward", "True reward", "minutes, from the simulator"),
    ("true_diversity", "Diversity of sessions", "mean distance between categories"),
    ("list_diversity", "Different first codes", "share of a session's pairs"),
    ("kl", "Distance from the iteration before", "KL divergence over the beam"),
    ("free_legality", "Existing items without the trie", "share of items"),
)


@dataclass(frozen=True)
class ToldSession:
    """A session at one stage of the training, with the reward model's number."""

    stage: str
    titles: tuple[str, ...]
    reward: str


@dataclass(frozen=True)
class SessionExample:
    """What a user had last, and the sessions written for the user."""

    newest: tuple[str, ...]
    sessions: tuple[ToldSession, ...]


@dataclass(frozen=True)
class AlignedModel:
    """One model: its pairs per iteration, the figures of its reward model, its examples."""

    model: ModelName
    pairs: tuple[str, ...]
    towers: tuple[tuple[str, ...], ...]
    examples: tuple[SessionExample, ...]


@dataclass(frozen=True)
class AlignmentSection:
    """The section; ``models`` are those whose runs keep an alignment."""

    models: tuple[AlignedModel, ...]
    charts: tuple[LineChart, ...]


def alignment_section(runs: Sequence[ReportRun], colours: Colours) -> AlignmentSection | None:
    """The section, or None where no run keeps an alignment."""
    named = zip(runs, models_of(runs, colours), strict=True)
    found = [(model, run.alignment) for run, model in named if run.alignment is not None]
    if not found:
        return None
    metrics = {str(told.get("metric")) for _, told in found}
    curves = [*((name, f"Validation {name}", name) for name in sorted(metrics)), *_CURVES]
    charts = [_chart(name, title, drawn, found) for name, title, drawn in curves]
    return AlignmentSection(
        tuple(_model(model, told) for model, told in found),
        tuple(chart for chart in charts if chart is not None),
    )


def _chart(
    name: str, title: str, drawn: str, found: Sequence[tuple[ModelName, Mapping[str, Any]]]
) -> LineChart | None:
    series = []
    for model, told in found:
        values = tuple(
            Value(float(one["number"]), float(one["figures"][name]))
            for one in objects(told.get("iterations"))
            if isinstance(one.get("figures"), dict) and name in one["figures"]
        )
        if values:
            series.append(Named(model.index, model.name, values))
    return line_chart(title, series, "iterations", drawn, markers=True) if series else None


def _model(model: ModelName, told: Mapping[str, Any]) -> AlignedModel:
    reward = told.get("reward")
    figures = reward.get("figures", {}) if isinstance(reward, dict) else {}
    towers = tuple(
        (plain(name, 40), *(_number(one.get(key)) for key in ("auc", "ece", "base_rate")))
        for name, one in figures.items()
    )
    examples = tuple(
        SessionExample(
            texts(one.get("newest")),
            tuple(
                ToldSession(
                    plain(each.get("stage"), 60), texts(each.get("items")),
                    _number(each.get("reward")),
                )
                for each in objects(one.get("lists"))
            ),
        )
        for one in objects(told.get("examples"))[:_SHOWN]
    )  # fmt: skip
    pairs = tuple(_pairs(one) for one in objects(told.get("iterations")) if one.get("pairs"))
    return AlignedModel(model, pairs, towers, examples)


def _pairs(one: Mapping[str, Any]) -> str:
    counts = one["pairs"]
    dropped = counts.get("all_equal", 0) + counts.get("tiny_gap", 0)
    text = f"iteration {one.get('number')}: {count(int(counts.get('pairs', 0)))} pairs"
    text += f", {count(int(dropped))} dropped because their rewards are alike" if dropped else ""
    return text if one.get("kept", True) else f"{text}; its policy was not kept"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"
