"""The report's section about alignment, for runs that keep one and for those that do not."""

import json
from datetime import UTC, datetime

import pytest
from report_fixture import HOSTILE, evaluation, write_run

from llmrec.errors import ArtifactError
from llmrec.evaluation import report_alignment as module
from llmrec.evaluation.report import ReportRun, write_report
from llmrec.evaluation.report_charts import line_chart

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
HEADING = "<h2>Alignment</h2>"


def iteration(number, reward, true, **changes):
    figures = {"ndcg@10": 0.3 - 0.01 * number, "reward": reward, "true_reward": true, "kl": 0.1}
    pairs = {"pairs": 1234, "all_equal": 5, "tiny_gap": 6, "fewer_than_two_lists": 7}
    pairs = pairs if number else {}
    return {"number": number, "figures": figures, "pairs": pairs, "kept": True, **changes}


def alignment(**changes):
    lists = [
        {"stage": "before alignment", "items": ["Blue ink", "Red ink"], "reward": 1.25},
        {"stage": "aligned", "items": ["Green ink", "Pen"], "reward": 2.5},
    ]
    return {
        "schema": 1,
        "metric": "ndcg@10",
        "reward": {
            "figures": {
                "like": {"auc": 0.7189, "above_random": 0.8125, "ece": 0.0238, "base_rate": 0.288}
            }
        },
        "iterations": [iteration(0, 1.0, 7.5), iteration(1, 1.5, 9.4), iteration(2, 1.9, 11.0)],
        "examples": [{"user": "1", "newest": ["Paper", "Nib"], "lists": lists}],
        **changes,
    }


def run_with(folder, name, seed, values):
    path = write_run(folder / name, evaluation(name, seed))
    if values is not None:
        (path / "alignment.json").write_text(json.dumps(values))
    return ReportRun.from_directory(path)


def section(runs, tmp_path):
    path = write_report(runs, tmp_path / "report.html", title="A title", generated=NOW)
    markup = path.read_text(encoding="utf-8")
    if HEADING not in markup:
        return None
    return markup[markup.index(HEADING) : markup.index("Where the figures come from")]


def test_only_aligned_runs_get_the_section(tmp_path):
    plain = run_with(tmp_path, "sasrec", 1, None)
    assert section([plain], tmp_path) is None
    found = section([plain, run_with(tmp_path, "onerec", 2, alignment())], tmp_path)
    assert "onerec" in found
    assert "sasrec" not in found


def test_curves_pairs_towers_and_sessions_are_shown(tmp_path):
    found = section([run_with(tmp_path, "onerec", 2, alignment())], tmp_path)
    for title in ("Validation ndcg@10", "Model reward", "True reward"):
        assert f"<h3>{title}</h3>" in found
    assert "<h3>Diversity of sessions</h3>" not in found  # no iteration has it
    assert found.count("<svg") >= 4
    told = "iteration 1: 1,234 pairs, 11 dropped because their rewards are alike"
    assert f"{told}, 7 for want of a second list" in found
    assert "<td>0.719</td><td>0.812</td><td>0.024</td><td>0.288</td>" in found
    assert "before alignment, reward 1.250" in found
    assert found.index("Blue ink") < found.index("Green ink")


def test_margin_and_log_probability_of_preferred_lists_are_drawn(tmp_path, monkeypatch):
    drawn = {}

    def chart(title, series, *others, **options):
        drawn[title] = [[(value.x, value.mean) for value in one.values] for one in series]
        return line_chart(title, series, *others, **options)

    monkeypatch.setattr(module, "line_chart", chart)
    valid = {"step": 9, "valid": {"reward": 1.0}}
    loads = {"expert_load_max": 1.5, "expert_load_min": 0.5}
    epochs = [
        {"margin": 0.5, "chosen": -9.0, **loads},
        valid,
        {"margin": 0.75, "chosen": -9.5},
        valid,
    ]
    logs = [[], epochs, [{"margin": 1.0, "chosen": -8.0}, valid]]
    iterations = [iteration(n, 1.0, 7.5, log=log) for n, log in enumerate(logs)]
    found = section([run_with(tmp_path, "onerec", 2, alignment(iterations=iterations))], tmp_path)
    assert drawn["Margin of the pairs"] == [[(0.5, 0.5), (1.0, 0.75), (2.0, 1.0)]]
    assert drawn["Preferred lists"] == [[(0.5, -9.0), (1.0, -9.5), (2.0, -8.0)]]
    assert drawn["Load of the busiest expert"] == [[(1.0, 1.5)]]
    assert drawn["Load of the idlest expert"] == [[(1.0, 0.5)]]
    for title in ("Margin of the pairs", "Preferred lists"):
        assert f"<h3>{title}</h3>" in found


def test_one_epoch_and_no_epoch_are_drawn_or_left_out(tmp_path):
    one = [iteration(0, 1.0, 7.5), iteration(1, 1.5, 9.4, log=[{"margin": 1.0}])]
    found = section([run_with(tmp_path, "onerec", 2, alignment(iterations=one))], tmp_path)
    assert "<h3>Margin of the pairs</h3>" in found
    assert "<h3>Preferred lists</h3>" not in found
    assert "<h3>Existing items without the trie</h3>" not in found  # no iteration has it


def test_a_policy_that_was_not_kept_is_told(tmp_path):
    told = alignment(iterations=[iteration(0, 1.0, 7.5), iteration(1, 1.5, 9.4, kept=False)])
    found = section([run_with(tmp_path, "onerec", 2, told)], tmp_path)
    assert "its policy was not kept" in found


def test_hostile_titles_are_escaped(tmp_path):
    bad = HOSTILE[0]
    lists = [{"stage": bad, "items": [bad], "reward": None}]
    told = alignment(examples=[{"newest": [bad], "lists": lists}])
    found = section([run_with(tmp_path, "onerec", 2, told)], tmp_path)
    assert bad not in found
    assert "&lt;" in found


@pytest.mark.parametrize("text", ["[]", '{"iterations": []}'])
def test_other_files_are_refused(tmp_path, text):
    path = write_run(tmp_path / "onerec", evaluation("onerec", 1))
    (path / "alignment.json").write_text(text)
    with pytest.raises(ArtifactError, match="is not a report of an alignment"):
        ReportRun.from_directory(path)
