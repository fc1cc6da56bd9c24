"""What a plan of judged pairs says: variants of a recipe, seeds, and the tables to make of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmrec.evaluation.tasks import Task, load_task
from llmrec.runs.recipe import Recipe, load_recipe

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

    def recipe_of(self, choice: Choice) -> Recipe:
        """The recipe with the variant's settings."""
        return load_recipe(ROOT / choice.recipe, choice.overrides)

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
        choices[name] = Choice(name, recipe, (*added, *overrides), **each)
    return Plan(path.stem, tuple(values["seeds"]), tuple(values["tables"]), choices)


def folder_of(runs: Path, variant: str, seed: int) -> Path:
    """Where the scores of a run lie."""
    return runs / variant.replace(" ", "-").replace("/", "-") / f"seed-{seed}"
