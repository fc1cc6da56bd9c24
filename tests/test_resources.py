import pytest

import llmrec.resources as resources
from llmrec.errors import ArtifactError


def test_a_checkout_is_preferred(tmp_path, monkeypatch):
    for place in ("eval/tasks", "llmrec/_resources/eval/tasks"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "llmrec")
    (tmp_path / "pyproject.toml").touch()
    assert resources.resource_dir("eval/tasks") == tmp_path / "eval/tasks"


def test_an_installed_package_brings_its_own_and_ignores_neighbours(tmp_path, monkeypatch):
    for place in ("eval/tasks", "llmrec/_resources/eval/tasks"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "llmrec")
    assert resources.resource_dir("eval/tasks") == tmp_path / "llmrec/_resources/eval/tasks"


def test_a_missing_folder_is_named():
    with pytest.raises(ArtifactError, match="'eval/nothing' that ships with llmrec is missing"):
        resources.resource_dir("eval/nothing")
