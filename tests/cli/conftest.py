"""The command line inside this process, and one small run for the verbs that need one."""

import pytest

from llmrec.cli import main


class Outcome:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def llmrec_cli(capsys):
    """Run ``llmrec`` with words; gives exit status, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(caught.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A popularity run on the tiny simulation, made through the command line."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "task.yaml").write_text(
        "name: tiny\nversion: 1\ndescription: tiny\ndataset: 'simulate:tiny@1'\n"
        "split: {name: leave_one_out}\nmetrics: [ndcg@10, coverage@10]\n"
    )
    (folder / "recipe.yaml").write_text(
        f"name: most-popular\ntask: {folder / 'task.yaml'}\nmodel: {{name: popularity}}\n"
    )
    with pytest.raises(SystemExit) as caught:
        main(["train", str(folder / "recipe.yaml"), "--output", str(folder / "run")])
    assert caught.value.code == 0
    return folder / "run"
