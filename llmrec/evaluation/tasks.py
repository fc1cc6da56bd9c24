"""Tasks: what is measured on which data, one small YAML file each.

A task names data, split and judging; it says nothing about models. Its version changes whenever
figures obtained before and after are not comparable.
"""

from pathlib import Path

import yaml
from pydantic import Field, PositiveInt

from llmrec.data.dataset import Dataset
from llmrec.data.splits import Split, make_split
from llmrec.errors import ConfigError, ProtocolError, nearest_name
from llmrec.evaluation.protocol import Judging
from llmrec.resources import resource_dir
from llmrec.validation import Strict, validated
from llmrec.yaml_text import read_yaml

SplitParam = str | int | float | bool


class SplitChoice(Strict):
    """Which split a task uses.

    Attributes:
        name: ``leave_one_out``, ``ratio``, ``global_time`` or ``given``.
        params: Arguments of the split.
    """

    name: str
    params: dict[str, SplitParam] = Field(default_factory=dict)


class Task(Judging):
    """What is measured on which data.

    Attributes:
        name: Name under which results are stored; the file is called the same.
        version: Counts changes that make earlier figures incomparable.
        description: What the task is, and whose figures it can be held against.
        dataset: Name of the data set.
        split_by: The split, ``split`` in the file.
    """

    name: str = Field(min_length=1, pattern=r"^[\w][\w.-]*$")
    version: PositiveInt
    description: str = Field(min_length=1)
    dataset: str
    split_by: SplitChoice = Field(alias="split")

    @property
    def judging(self) -> Judging:
        """What the task fixes about a protocol."""
        return Judging(**{name: getattr(self, name) for name in Judging.model_fields})

    def split(self, dataset: Dataset) -> Split:
        """Split the data as the task says.

        Raises:
            ProtocolError: It is another data set than the task's.
            ConfigError: The split or one of its arguments is unknown.
        """
        self._require_dataset(dataset)
        return make_split(dataset, self.split_by.name, **self.split_by.params)

    def require_fitting(self, split: Split) -> None:
        """Refuse a split that is not the task's.

        Raises:
            ProtocolError: Data set, split or an argument of the split differ.
        """
        expected = self.split(split.dataset)
        if expected.hash != split.hash:
            raise ProtocolError(
                f"task {self.name} splits by {expected.name} {dict(expected.params)}, but the "
                f"split given is {split.name} {dict(split.params)}; "
                "make it with task.split(dataset)."
            )

    def _require_dataset(self, dataset: Dataset) -> None:
        if dataset.name != self.dataset:
            raise ProtocolError(
                f"task {self.name} is about {self.dataset!r}, but the data given is "
                f"{dataset.name!r}; two editions of a data set are two names."
            )


def task_names() -> list[str]:
    """Names of the tasks that come with the toolkit."""
    return sorted(path.stem for path in resource_dir("eval/tasks").glob("*.yaml"))


def load_task(name: str | Path) -> Task:
    """Read a task by its name, or from a YAML file.

    Args:
        name: ``"ml-1m"``, or the path of a file that ends in ``.yaml``.

    Raises:
        ConfigError: There is no such task, or the file is not a task; the message names the key
            and the nearest valid one.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in task_names():
            raise ConfigError(f"unknown task {str(name)!r}{nearest_name(str(name), task_names())}.")
        path = resource_dir("eval/tasks") / f"{name}.yaml"
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"task file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"task file {path} is not valid YAML: {error}.") from None
    return validated(Task, content, str(path))
