"""Run directories: what is in them, what is refused, and what a push leaves at home."""

import json

import pytest
import yaml

import llmrec
from llmrec.errors import ArtifactError
from llmrec.runs.directory import ABOUT_USERS, RunDirectory, changed_run
from llmrec.runs.reporting import report_runs


def test_a_run_says_what_it_is(trained):
    run = RunDirectory(trained / "sasrec")
    assert run.name == "small-sasrec"
    assert run.metrics["part"] == "valid"
    assert run.validation == run.metrics
    assert run.per_user.height == run.metrics["n_users"] == 60
    assert [row["epoch"] for row in run.log if "loss" in row] == [1, 2, 3]
    assert run.info["origins"]["model.dim"] == "recipe"
    assert run.info["origins"]["model.dropout"] == "default"
    assert run.info["recipe"]["training"]["epochs"] == 3
    assert run.info["seen"][0]["part"] == "train"
    assert set(run.info["versions"]) >= {"python", "torch", "llmrec"}


def test_models_without_training_have_an_empty_log(trained):
    assert RunDirectory(trained / "pop").log == []


def test_example_lists_are_of_the_same_users_for_every_model(trained):
    users = [set(RunDirectory(trained / n).recommendations["user_id"]) for n in ("pop", "sasrec")]
    assert users[0] == users[1]


def test_nothing_about_users_is_in_the_papers(trained):
    run = RunDirectory(trained / "pop")
    assert "user_id" not in (run.path / "run.yaml").read_text()
    assert "user_id" not in (run.path / "metrics.json").read_text()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), r"not a run directory: it has no run\.yaml"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, make, sentence):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(ArtifactError, match=sentence):
        RunDirectory(path)


def test_a_folder_of_runs_names_them(trained):
    with pytest.raises(ArtifactError, match="holds the runs pop, sasrec; name one"):
        RunDirectory(trained)


def test_a_misspelt_run_gets_the_nearest_name(trained):
    with pytest.raises(ArtifactError, match="did you mean 'sasrec'"):
        RunDirectory(trained / "sasrek")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("recipe: [", "not valid YAML"), ("a: 1", "no 'recipe'"), ("recipe: {}\nschema: 99", "newer")],
)
def test_a_damaged_description_is_refused(runs, text, sentence):
    (runs / "pop" / "run.yaml").write_text(text)
    with pytest.raises(ArtifactError, match=sentence):
        _ = RunDirectory(runs / "pop").info


def test_a_run_that_was_never_judged_says_so(runs):
    (runs / "pop" / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match="llmrec evaluate"):
        _ = RunDirectory(runs / "pop").metrics


def test_a_change_is_whole_or_absent(runs):
    run = runs / "pop"
    before = (run / "metrics.json").read_text()

    def fail_halfway():
        with changed_run(run) as copy:
            (copy / "metrics.json").unlink()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert (run / "metrics.json").read_text() == before
    assert [path.name for path in runs.iterdir() if path.name.startswith(".")] == []


def test_a_push_leaves_users_at_home(trained, tmp_path):
    run = RunDirectory(trained / "sasrec")
    run.stage(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("README.md", "run.yaml", "metrics.json", "log.jsonl"),
        *("model.json", "model.safetensors", "items.parquet"),
    }
    model = llmrec.load(tmp_path)
    assert model.known_histories is None


def test_a_push_takes_along_what_is_named(trained, tmp_path):
    run = RunDirectory(trained / "sasrec")
    run.stage(tmp_path, ["histories.parquet"])
    assert llmrec.load(tmp_path).recommend([1], k=3).height == 3
    assert not (tmp_path / "per_user.parquet").exists()


@pytest.mark.parametrize("name", ["history.parquet", "../secrets"])
def test_a_push_refuses_other_names(trained, tmp_path, name):
    with pytest.raises(ArtifactError, match="cannot be included"):
        RunDirectory(trained / "pop").stage(tmp_path, [name])
    assert list(tmp_path.iterdir()) == []


def test_a_push_uploads_exactly_what_is_staged(trained, monkeypatch):
    uploaded = {}

    class Hub:
        def create_repo(self, repository, private, exist_ok):
            uploaded["private"] = private

        def upload_folder(self, repo_id, folder_path):
            uploaded["names"] = {path.name for path in folder_path.iterdir()}
            return f"hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    address = RunDirectory(trained / "pop").push_to_hub("me/mine")
    assert address == "hub/me/mine"
    assert uploaded["private"] is True
    assert not uploaded["names"] & set(ABOUT_USERS)


def test_the_card_tells_data_protocol_metrics_and_what_was_seen(trained):
    run = RunDirectory(trained / "sasrec")
    card = (run.path / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["tags"] == ["recommendation", "sasrec"]
    mean = run.metrics["metrics"]["ndcg@10"]["mean"]
    for expected in (
        run.info["dataset"]["fingerprint"],
        run.info["split"]["hash"],
        f"| ndcg@10 | {mean:.4f} |",
        "up to and including the train part",
        "validation part",
        "llmrec.load",
    ):
        assert expected in card


def test_a_run_says_that_its_sessions_are_no_logged_ones(sessions_run, trained, tmp_path):
    told = "pseudo-sessions, events without a pause longer than 600 seconds"
    about = sessions_run.info["sessions"]
    assert about["pseudo"] is True
    assert about["rule"]["gap_seconds"] == 600
    assert about == sessions_run.model().details["sessions"]
    assert f"| sessions | {told}" in (sessions_run.path / "README.md").read_text()
    page = report_runs([sessions_run.path], tmp_path / "page.html")
    assert told in page.read_text()
    plain = RunDirectory(trained / "sasrec")
    assert "sessions" not in plain.info
    assert "| sessions |" not in (plain.path / "README.md").read_text()


def test_a_hostile_description_stays_text(trained):
    from llmrec.runs.card import render_card

    run = RunDirectory(trained / "pop")
    info = json.loads(json.dumps(run.info))
    info["recipe"]["description"] = "{{ 7 * 7 }}\n---\n# Owned\n| a | b |"
    card = render_card(info, [run.metrics], "here")
    assert "49" not in card.split("## Load it")[0]
    assert "\n# Owned" not in card
