import pytest
import yaml

from llmrec.data.splits import SPLITS
from llmrec.errors import ConfigError
from llmrec.evaluation import load_task, task_names
from llmrec.resources import resource_dir


@pytest.mark.parametrize("name", task_names())
def test_shipped_tasks_are_whole(name):
    task = load_task(name)
    text = (resource_dir("eval/tasks") / f"{name}.yaml").read_text()
    assert task.name == name
    assert text.startswith(f"# llmrec evaluate runs/NAME --task {name}\n")
    assert task.split_by.name in SPLITS
    assert len(text.splitlines()) <= 30


def test_the_promised_tasks_are_there():
    data = {load_task(name).dataset for name in task_names()}
    assert data >= {"ml-latest-small", "ml-1m", "ml-1m-collm", "amazon-beauty", "amazon-office"}
    for name in ("ml-1m", "amazon-beauty", "amazon-office"):
        filtered, kept = load_task(name), load_task(f"{name}-unfiltered")
        assert (filtered.filter_seen, kept.filter_seen) == (True, False)
        assert filtered.split_by == kept.split_by


def test_a_task_of_ones_own_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    content = yaml.safe_load((resource_dir("eval/tasks") / "ml-1m.yaml").read_text())
    path.write_text(yaml.safe_dump(content | {"name": "mine"}))
    assert load_task(path).name == "mine"


WHOLE = "name: x\nversion: 1\ndescription: d\ndataset: d\nsplit: {name: given}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE + "metric: [ndcg@10]", r"unknown key 'metric'; did you mean 'metrics'"),
        (WHOLE.replace("{name", "{nam"), r"unknown key 'split.nam'; did you mean 'name'"),
        (WHOLE + "metrics: [ndcg@ten]", "needs a positive list length"),
        (WHOLE.replace("version: 1", "version: 0") + "metrics: [ndcg@10]", "version is 0"),
        ("- a list", "must hold keys and values, found list"),
        ("name: [", "is not valid YAML"),
    ],
)
def test_files_that_are_no_tasks_are_refused(tmp_path, text, message):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_task(path)
    assert str(path) in str(error.value)


def test_unknown_tasks_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown task 'ml-1n'; did you mean 'ml-1m'\?"):
        load_task("ml-1n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_task(tmp_path / "absent.yaml")
