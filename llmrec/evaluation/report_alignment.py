"""The section of the report about alignment, for runs that keep ``alignment.json``.

Curves over iterations stand side by side: what was optimised (model reward), what it should bring
(the truth, where the data are simulated), and what must not be lost (the validation metric,
diversity). Others are of the epochs of training: how far preferred lists are told from the others,
whether they become likely or only the others unlikely, and how evenly experts are used. Titles in
the sessions are foreign text: made plain here, escaped by the template.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
_TOWER_FIGURES = ("auc", "above_random", "ece", "base_rate")
_Read = Callable[[Sequence[Mapping[str, Any]]], Iterator[Value]]

# figure, title, what is drawn
_CURVES = (
    ("reward", "Model reward", "reward model's mean"),
    ("true_reward", "True reward", "minutes, from the simulator"),
    ("true_diversity", "Diversity of sessions", "mean distance between categories"),
    ("list_diversity", "Different first codes", "share of a session's pairs"),
    ("kl", "Distance from the iteration before", "KL divergence over the beam"),
    ("free_legality", "Existing items without the trie", "share of items"),
)

# figure of the training's log, title, what is drawn
_LEARNT = (
    ("margin", "Margin of the pairs", "gain of preferred lists over the others"),
    ("chosen", "Preferred lists", "mean log-probability"),
    ("expert_load_max", "Load of the busiest expert", "times an even share"),
    ("expert_load_min", "Load of the idlest expert", "times an even share"),
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
    charts = [_chart(title, drawn, found, _figures_of(name)) for name, title, drawn in curves]
    charts += [_chart(title, drawn, found, _epochs_of(name)) for name, title, drawn in _LEARNT]
    return AlignmentSection(
        tuple(_model(model, told) for model, told in found),
        tuple(chart for chart in charts if chart is not None),
    )


def _chart(
    title: str, drawn: str, found: Sequence[tuple[ModelName, Mapping[str, Any]]], read: _Read
) -> LineChart | None:
    """Lines over the iterations of those models that have values."""
    series = [
        Named(model.index, model.name, values)
        for model, told in found
        if (values := tuple(read(objects(told.get("iterations")))))
    ]
    return line_chart(title, series, "iterations", drawn, markers=True) if series else None


def _figures_of(name: str) -> _Read:
    """Reads a figure of every iteration."""

    def read(iterations: Sequence[Mapping[str, Any]]) -> Iterator[Value]:
        for one in iterations:
            if isinstance(one.get("figures"), dict) and name in one["figures"]:
                yield Value(float(one["number"]), float(one["figures"][name]))

    return read


def _epochs_of(name: str) -> _Read:
    """Reads a figure of every epoch of the iterations' trainings, evenly up to their ends."""

    def read(iterations: Sequence[Mapping[str, Any]]) -> Iterator[Value]:
        for one in iterations:
            rows = [
                row for row in objects(one.get("log")) if isinstance(row.get(name), int | float)
            ]
            for epoch, row in enumerate(rows, start=1):
                yield Value(float(one["number"]) - 1 + epoch / len(rows), float(row[name]))

    return read


def _model(model: ModelName, told: Mapping[str, Any]) -> AlignedModel:
    reward = told.get("reward")
    figures = reward.get("figures", {}) if isinstance(reward, dict) else {}
    towers = tuple(
        (plain(name, 40), *(_number(one.get(key)) for key in _TOWER_FIGURES))
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
    if single := counts.get("fewer_than_two_lists", 0):
        text += f", {count(int(single))} for want of a second list"
    return text if one.get("kept", True) else f"{text}; its policy was not kept"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"
