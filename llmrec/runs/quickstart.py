"""The first run of a newcomer: which data, which task, which recipes, which examples.

Nothing here prints. The choice of data never hangs: without a copy at hand, one short question to
the publisher's server decides between a download and the simulator.
"""

import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmrec.data.named import dataset_info, find_dataset, load_dataset
from llmrec.data.splits import Split
from llmrec.errors import LlmrecError
from llmrec.evaluation.tasks import load_task, task_names
from llmrec.resources import resource_dir
from llmrec.runs.directory import RunDirectory
from llmrec.runs.recipe import Recipe, load_recipe
from llmrec.storage import write_text

PREFERRED = "ml-latest-small"
FALLBACK = "simulate:small@1"
SMALL = "simulate:tiny@1"
MODELS = ("popularity", "item-knn", "sasrec", "sra-cl")
NEEDS_TEXT = "sra-cl"
_ANSWER_WITHIN = 5.0  # seconds
_SMALL_CHANGES = ("model.dim=16", "training.epochs=4", "training.batch_size=32")


@dataclass(frozen=True)
class Choice:
    """Which data the quickstart uses.

    Attributes:
        name: Name of the data set.
        reason: Why, as the end of a sentence.
        download: Whether it has to be fetched first.
        licence: The terms of data to be fetched.
    """

    name: str
    reason: str
    download: bool = False
    licence: str = ""


@dataclass(frozen=True)
class Example:
    """What a model recommends to one user.

    Attributes:
        user: The user's id.
        history: Titles of the newest past items, oldest first.
        recommended: Titles and whether the item is what the user took next.
    """

    user: Any
    history: list[str]
    recommended: list[tuple[str, bool]]


def choose_data(asked: str | None, small: bool) -> Choice:
    """Choose the data: what was asked for, a copy at hand, a download, or the simulator."""
    if asked is not None:
        return Choice(asked, "as asked")
    if small:
        return Choice(SMALL, "a tiny simulation, as --small asks")
    folder = find_dataset(PREFERRED)
    if folder is not None:
        return Choice(PREFERRED, f"real ratings, found in {folder}")
    card = dataset_info(PREFERRED)
    if card.downloads and answers(card.downloads[0].url):
        return Choice(PREFERRED, f"real ratings, from {card.homepage}", True, card.licence)
    return Choice(
        FALLBACK,
        f"simulated, because {PREFERRED} is neither in LLMREC_DATA_HOME nor in the cache and its "
        "server did not answer",
    )


def answers(url: str, within: float = _ANSWER_WITHIN) -> bool:
    """Whether a server answers in time; looking up its name counts too."""
    found: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=within):
                found.append(True)
        except (urllib.error.URLError, OSError, ValueError):
            found.append(False)

    # A look-up of a name has no time-out of its own, so it must not be waited for.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within)
    return bool(found and found[0])


def prepare(choice: Choice, output: Path) -> tuple[Choice, str, Split]:
    """Load the chosen data and split it by its task.

    Returns:
        The data really used (the simulator where a download failed), the task's name or file, and
        the split.
    """
    try:
        dataset = load_dataset(choice.name, accept_licence=choice.download)
    except LlmrecError as error:
        if not choice.download:
            raise
        choice = Choice(FALLBACK, f"simulated, because the download failed ({error})")
        dataset = load_dataset(choice.name)
    task = _task_for(choice.name, output)
    return choice, task, load_task(task).split(dataset)


def recipes(task: str, seed: int, small: bool, split: Split) -> dict[str, Recipe]:
    """The recipes for this task and seed; SRA-CL only where the items have titles to read."""
    folder = resource_dir("eval/recipes")
    has_text = "title" in split.dataset.catalog.frame.columns
    found = {}
    for model in MODELS:
        if model == NEEDS_TEXT and not has_text:
            continue
        changes = [f"task={task}", f"seeds=[{seed}]"]
        if small and model in ("sasrec", "sra-cl"):
            changes += _SMALL_CHANGES
        found[model] = load_recipe(folder / f"quickstart-{model}.yaml", changes)
    return found


def examples(run: RunDirectory, split: Split, users: int = 3, k: int = 5) -> list[Example]:
    """What a run judged on the test part recommends to the first of its example users."""
    cases = split.cases("test")
    titles = split.dataset.catalog.titles
    lists = run.recommendations
    row_of = {user: row for row, user in enumerate(cases.histories.user_ids.to_list())}
    found = []
    for user in lists["user_id"].unique(maintain_order=True).head(users).to_list():
        case = cases.take([row_of[user]])
        targets = set(case.histories.vocabulary.decode(case.targets).to_list())
        mine = lists.filter(lists["user_id"] == user).sort("rank").head(k)
        shown = zip(mine["item_id"], mine["title"], strict=True)
        found.append(
            Example(
                user,
                [titles[int(code) - 1] for code in case.histories.items[-k:]],
                [(title, item in targets) for item, title in shown],
            )
        )
    return found


def _task_for(dataset: str, output: Path) -> str:
    """The shipped task about the data, or a file with one like it."""
    usual = dataset.removeprefix("simulate:").partition("@")[0]
    for name in (dataset, f"simulate-{usual}"):
        if name in task_names() and load_task(name).dataset == dataset:
            return name
    base = load_task(PREFERRED).model_dump(mode="json", by_alias=True)
    # diversity needs a category column, which other data may not have
    metrics = [metric for metric in base["metrics"] if not metric.startswith("intra_list")]
    about = {
        "name": "quickstart",
        "description": "Next item, leave-one-out.",
        "dataset": dataset,
        "metrics": metrics,
    }
    path = output / "task.yaml"
    write_text(path, yaml.safe_dump({**base, **about}, sort_keys=False))
    return str(path)
