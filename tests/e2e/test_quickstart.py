"""The newcomer's path through the real command line: quickstart, then one recommendation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_llmrec(*words, cwd):
    program = Path(sys.executable).with_name("llmrec")
    settings = {**os.environ, "LLMREC_HOME": str(cwd / "cache")}
    return subprocess.run(
        [str(program), *words], cwd=cwd, env=settings, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and outcome."""
    folder = tmp_path_factory.mktemp("newcomer")
    return folder, run_llmrec("quickstart", "--small", cwd=folder)


def test_it_finishes_without_errors(finished):
    _, done = finished
    assert done.returncode == 0, done.stderr


def test_it_says_data_figures_differences_titles_and_what_next(finished):
    _, done = finished
    for expected in (
        "data: simulate:tiny@1",
        "ndcg@10",
        "popularity",
        "item_knn",
        "sasrec - popularity",
        "sasrec - item_knn",
        "sra_cl - sasrec",
        "What SASRec recommends",
        "runs/quickstart/report.html",
        "What to run next",
    ):
        assert expected in done.stdout
    assert done.stdout.count("lately:") == 3


def test_the_report_is_there_and_shows_the_models(finished):
    folder, _ = finished
    report = (folder / "runs" / "quickstart" / "report.html").read_text()
    for model in ("popularity", "item_knn", "sasrec", "sra_cl"):
        assert model in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_the_next_step_it_names_works(finished):
    folder, done = finished
    line = next(text for text in done.stdout.splitlines() if "llmrec recommend" in text)
    again = run_llmrec(*line.split()[1:], "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    rows = json.loads(again.stdout)
    assert [row["rank"] for row in rows] == list(range(1, 11))
    assert all(row["title"] for row in rows)


def test_the_python_lines_of_the_card_work(finished):
    folder, _ = finished
    code = (
        "import llmrec\n"
        "model = llmrec.load('runs/quickstart/sasrec')\n"
        "print(model.recommend([1, 2], k=3).height)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "6"
