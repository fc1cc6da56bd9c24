"""The report's section about text neighbours, for runs that keep them and for those that do not."""

import json
from datetime import UTC, datetime

import pytest
from report_fixture import HOSTILE, evaluation, write_run

from llmrec.errors import ArtifactError
from llmrec.evaluation.report import ReportRun, write_report

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
HEADING = "<h2>Text neighbours</h2>"


def neighbors(**changes):
    sequences = {
        "described": 12345,
        "filled": 0.875,
        "users_per_query": 7.25,
        "same_user_slots": 0.281,
        "holds_target": 0.8125,
        "same_next": 0.0796,
        "same_next_slots": 0.0099,
        "same_next_slots_by_chance": 0.0011,
        "score": {"quantiles": {"p50": 0.781}},
        "duplicates": 0.076,
        "hubness": {"to_top_percent": 0.0828, "never_chosen": 0.5613},
        "samples": [
            {
                "newest": ["Blue ink", "Red ink"],
                "next": "Green ink",
                "neighbors": [
                    {"newest": ["Paper"], "next": None, "cosine": 0.83621},
                    {"newest": ["Pen", "Nib"], "next": "Green ink", "cosine": 0.7024},
                ],
            }
        ],
    }
    items = {
        "described": 2417,
        "same_category_slots": 0.634,
        "same_category_slots_by_chance": 0.0234,
        "samples": [{"title": "Stapler", "neighbors": ["Staples", "Hole punch"]}],
    }
    return {"schema": 1, "sequences": sequences, "items": items, **changes}


def run_with(folder, name, seed, values):
    path = write_run(folder / name, evaluation(name, seed))
    if values is not None:
        (path / "neighbors.json").write_text(json.dumps(values))
    return ReportRun.from_directory(path)


def render(runs, tmp_path):
    path = write_report(runs, tmp_path / "report.html", title="A title", generated=NOW)
    return path.read_text(encoding="utf-8")


def test_only_runs_that_keep_neighbours_get_the_section(tmp_path):
    plain = run_with(tmp_path, "pop", 1, None)
    assert HEADING not in render([plain], tmp_path)
    markup = render([plain, run_with(tmp_path, "sra_cl", 2, neighbors())], tmp_path)
    section = markup[markup.index(HEADING) : markup.index("Where the figures come from")]
    assert "sra_cl" in section
    assert "pop" not in section


def test_figures_are_shown_as_stored_beside_their_meaning(tmp_path):
    markup = render([run_with(tmp_path, "sra_cl", 1, neighbors())], tmp_path)
    for row in (
        ("Sequences with neighbours", "12,345"),
        ("Same user", "28.1 %"),
        ("Next item in a neighbour", "81.2 %"),
        ("Same next item", "8.0 %"),
        ("Same next item, of neighbours", "0.99 %"),
        ("Same category", "63.4 %"),
        ("Median cosine", "0.78"),
        ("Taken by the most chosen 1 %", "8.3 %"),
        ("Never chosen", "56.1 %"),
    ):
        start = markup.index(f'<th scope="row">{row[0]}<')
        assert f"<td>{row[1]}</td></tr>" in markup[start : start + 300]
    assert "useful signal" in markup


def test_samples_tell_sequences_and_items(tmp_path):
    markup = render([run_with(tmp_path, "sra_cl", 1, neighbors())], tmp_path)
    assert '<bdi>Blue ink</bdi><span class="sep">›</span><bdi>Red ink</bdi>' in markup
    assert "Neighbour, cosine 0.84" in markup
    assert "Neighbour, cosine 0.70" in markup
    assert markup.count("<bdi>Green ink</bdi>") == 2
    assert markup.count("✓ same") == 1  # only the second neighbour is followed by the same item
    assert "<bdi>Stapler</bdi>" in markup
    assert "<bdi>Hole punch</bdi>" in markup


def test_seeds_that_tell_the_same_samples_tell_them_once(tmp_path):
    runs = [run_with(tmp_path, name, n, neighbors()) for n, name in enumerate(("a", "b"), 1)]
    markup = render(runs, tmp_path)
    assert markup.count("<bdi>Stapler</bdi>") == 1
    assert markup.count("<td>28.1 %</td>") == 2


def test_what_was_not_counted_is_left_out(tmp_path):
    items = {**neighbors()["items"], "same_category_slots": None}
    items["same_category_slots_by_chance"] = None
    values = neighbors(sequences=None, items=items)
    markup = render([run_with(tmp_path, "sra_cl", 1, values)], tmp_path)
    assert "Neighbours of items" in markup
    assert "Neighbours of sequences" not in markup
    assert "Same category" not in markup


def test_hostile_titles_are_inert(tmp_path):
    values = neighbors()
    values["sequences"]["samples"][0]["newest"] = list(HOSTILE)
    values["sequences"]["samples"][0]["next"] = HOSTILE[1]
    values["items"]["samples"] = [{"title": HOSTILE[0], "neighbors": list(HOSTILE)}]
    markup = render([run_with(tmp_path, "sra_cl", 1, values)], tmp_path)
    section = markup[markup.index(HEADING) : markup.index("Where the figures come from")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in section
    for piece in ("<script", "<img", "<a ", "<svg onload", "\u202e", "x" * 200):
        assert piece not in section


@pytest.mark.parametrize("text", ["[1, 2]", '{"sequences": {}}', '{"schema": "one"}', "{"])
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, text):
    path = write_run(tmp_path / "r", evaluation("sra_cl", 1))
    (path / "neighbors.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"r/neighbors\.json is not "):
        ReportRun.from_directory(path)


def test_values_of_another_form_are_shown_as_missing(tmp_path):
    values = neighbors()
    values["sequences"]["holds_target"] = "much"
    values["sequences"]["score"] = 3
    values["sequences"]["samples"] = {"newest": 1}
    values["items"]["samples"] = ["Stapler", {"title": "Ruler", "neighbors": None}]
    markup = render([run_with(tmp_path, "sra_cl", 1, values)], tmp_path)
    assert "Next item in a neighbour" not in markup
    assert "<bdi>Ruler</bdi>" in markup
