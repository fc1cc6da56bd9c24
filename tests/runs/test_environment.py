"""Which commit a run says it was made from."""

import subprocess
from pathlib import Path

import pytest

from llmrec.runs.environment import source_commit


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    done = subprocess.run(
        ["git", "-C", str(root), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "eval/results").mkdir(parents=True)
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "eval/results/speed.json").write_text("{}\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_commit_by_twelve_digits(tree: Path) -> None:
    assert source_commit(tree) == git(tree, "rev-parse", "HEAD")[:12]


def test_changed_code_is_dirty(tree: Path) -> None:
    (tree / "code.py").write_text("a = 2\n")
    assert source_commit(tree) == git(tree, "rev-parse", "HEAD")[:12] + "-dirty"


def test_new_results_and_untracked_files_are_not_dirty(tree: Path) -> None:
    (tree / "eval/results/speed.json").write_text("[]\n")
    (tree / "notes.txt").write_text("untracked\n")
    assert source_commit(tree) == git(tree, "rev-parse", "HEAD")[:12]


def test_no_commit_without_git(tmp_path: Path) -> None:
    assert source_commit(tmp_path) is None
