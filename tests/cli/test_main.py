"""The front door: help, version, mistakes as one sentence, and the time it takes to open."""

import subprocess
import sys

import pytest

VERBS = {
    "quickstart": ["--output", "--small", "--seed", "--data", "--json"],
    "doctor": ["--json"],
    "train": ["RECIPE", "--output", "--set", "--seed", "--part", "--resume", "--json"],
    "evaluate": ["RUN", "--task", "--part", "--json"],
    "compare": ["RUN", "--metric", "--seed", "--json"],
    "recommend": [
        "RUN",
        "--user",
        "--history",
        "--k",
        "--session",
        "--candidates",
        "--include-seen",
        "--json",
    ],
    "rank": ["RUN", "--candidates", "--user", "--history", "--json"],
    "report": ["RUN", "--output", "--json"],
    "data": ["list", "info", "validate", "prepare", "simulate"],
    "data list": ["--json"],
    "data info": ["NAME", "--json"],
    "data validate": ["DATA", "--limit", "--json"],
    "data prepare": ["NAME", "--output", "--accept-licence", "--json"],
    "data simulate": ["PRESET", "--output", "--seed", "--json"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_option(llmrec_cli, verb):
    shown = llmrec_cli(*verb.split(), "--help")
    assert shown.status == 0
    for option in VERBS[verb]:
        assert option in shown.out


def test_help_lists_the_verbs(llmrec_cli):
    alone, asked = llmrec_cli(), llmrec_cli("--help")
    assert alone.out == asked.out
    for verb in VERBS:
        assert f"  {verb.split()[0]} " in asked.out


def test_version(llmrec_cli):
    import llmrec

    assert llmrec_cli("--version").out == f"llmrec {llmrec.__version__}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'"),
        (["train"], "llmrec train: Missing argument"),
        (["train", "r.yaml", "--sed", "1"], "llmrec train: No such option: --sed"),
        (["train", "r.yaml", "--seed", "x"], "--seed"),
        (["train", "r.yaml", "--seed", "-1"], "--seed"),
        (["train", "nowhere.yaml"], "recipe nowhere.yaml cannot be read"),
        (["recommend", "nowhere", "--user", "1", "--k", "0"], "--k"),
        (["recommend", "nowhere", "--user", "1"], "nowhere does not exist"),
        (["data", "lits"], "No such command 'lits'"),
        (["data", "info", "ml-1"], "unknown data set 'ml-1'"),
        (["data", "validate", "nowhere.csv"], "nowhere.csv does not exist"),
        (["data", "simulate", "tinny@1", "--output", "x"], "did you mean 'simulate:tiny@1'"),
        (["data", "prepare", "ml-100k"], "accept the licence"),
        (["compare", "only-one"], "two runs or more"),
    ],
)
def test_mistakes_are_one_sentence_on_stderr(llmrec_cli, tmp_path, monkeypatch, words, sentence):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMREC_DATA_HOME", raising=False)
    shown = llmrec_cli(*words)
    assert shown.status == 2
    assert shown.out == ""
    assert sentence in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_defect_keeps_its_traceback(llmrec_cli, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("llmrec.cli.data.list_data_sets", broken)
    from llmrec.cli import main

    with pytest.raises(ZeroDivisionError):
        main(["data", "list"])


def test_an_interruption_is_no_traceback(llmrec_cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmrec.cli.data.list_data_sets", interrupted)
    shown = llmrec_cli("data", "list")
    assert (shown.status, shown.err) == (130, "interrupted\n")


def fresh(*words):
    command = [sys.executable, "-c", "from llmrec.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_loads_nothing_heavy():
    """Start-up time is a benchmark (eval/benchmarks/startup.py); what is loaded is a test."""
    code = (
        "import sys\nfrom llmrec.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'polars', 'numpy', 'pydantic', 'matplotlib', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "quickstart" in done.stdout
    assert done.stderr == "[]\n"


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "llmrec", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("llmrec ")


def test_a_pipe_gets_no_colour_and_no_progress():
    done = fresh("data", "list")
    assert done.returncode == 0
    assert "\033" not in done.stdout
    assert done.stderr == ""


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -c 'from llmrec.cli import main; main()' data list | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_a_report_goes_to_a_file(llmrec_cli, small_run, tmp_path):
    shown = llmrec_cli("report", small_run, "--output", tmp_path)
    assert (shown.status, shown.out) == (2, "")
    assert "is a directory; name a file to write" in shown.err
    assert not any(tmp_path.iterdir())


def test_what_a_model_does_not_know_is_said_beside_its_figures(capsys):
    from llmrec.cli.tables import print_metrics

    figures = {"metrics": {"auc": {"mean": 0.5, "ci95": None}}, "n_unknown_items": 3}
    print_metrics({**figures, "notes": ["logloss left out."]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["3 items of the data are unknown to the model", "logloss left out."]
    print_metrics({"metrics": figures["metrics"], "n_unknown_items": 0, "notes": []})
    assert capsys.readouterr().out.splitlines() == lines[:-2]
