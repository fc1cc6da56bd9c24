"""What a plan of judged pairs says: variants of a recipe, seeds, and the tables to make of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmrec.evaluation.tasks import Task, load_task
from llmrec.runs.recipe import Recipe, load_recipe
from llmrec.storage import read_json

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Choice:
    """A variant of a plan; what its fields mean is told in ``judged_controls.py``."""

    name: str
    recipe: str
    overrides: tuple[str, ...] = ()
    result: str | None = None
    of: str | None = None
    output: str = "score"
    oracle: bool = False
    grid: tuple[str, ...] = ()
    grid_of: str | None = None

    @property
    def trains(self) -> bool:
        """Whether it has runs of its own."""
        return self.of is None and not self.oracle


@dataclass(frozen=True)
class Plan:
    """What a plan file says."""

    name: str
    seeds: tuple[int, ...]
    tables: tuple[dict[str, Any], ...]
    choices: dict[str, Choice] = field(default_factory=dict)

    def recipe_of(self, choice: Choice, settled: tuple[str, ...] = ()) -> Recipe:
        """The recipe with the variant's settings, and with those that a grid has settled."""
        return load_recipe(ROOT / choice.recipe, [*choice.overrides, *settled])

    def searched(self, choice: Choice) -> Choice | None:
        """The variant whose grid settles this one's settings, if any does."""
        source = self.choices[choice.grid_of] if choice.grid_of is not None else choice
        return source if source.grid else None

    @property
    def task(self) -> Task:
        """The task of all variants."""
        return load_task(self.recipe_of(next(iter(self.choices.values()))).task)

    @property
    def recipes(self) -> list[Path]:
        """All recipe files."""
        return sorted({ROOT / choice.recipe for choice in self.choices.values()})


def read_plan(path: Path) -> Plan:
    """Read a plan file."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    common, choices = tuple(values.get("overrides", ())), {}
    for name, given in values["variants"].items():
        each = dict(given) if isinstance(given, dict) else {"overrides": given}
        overrides = tuple(each.pop("overrides", ()))
        recipe = each.pop("recipe", values["recipe"])
        added = common if recipe == values["recipe"] else ()
        each["grid"] = tuple(each.get("grid", ()))
        if not each["grid"] and not each.get("of"):
            each.setdefault("grid_of", values.get("grid_of"))
        choices[name] = Choice(name, recipe, (*added, *overrides), **each)
    return Plan(path.stem, tuple(values["seeds"]), tuple(values["tables"]), choices)


def folder_of(runs: Path, variant: str, seed: int) -> Path:
    """Where the scores of a run lie."""
    return runs / variant.replace(" ", "-").replace("/", "-") / f"seed-{seed}"


def settled(plan: Plan, choice: Choice, runs: Path) -> tuple[str, ...]:
    """What a grid has settled for a variant; nothing where there is no grid."""
    source = plan.searched(choice)
    return () if source is None else (str(read_json(grid_file(runs, source.name))["chosen"]),)


def grid_file(runs: Path, variant: str) -> Path:
    """Where it is kept which value of a grid was best."""
    return folder_of(runs, variant, 0).with_name("grid.json")
