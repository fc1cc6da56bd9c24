"""The report's sections about gates and adapter stores."""

import json
from datetime import UTC, datetime

import pytest
from report_fixture import HOSTILE, evaluation, write_run

from llmrec.errors import ArtifactError
from llmrec.evaluation.report import ReportRun, write_report
from llmrec.evaluation.report_told import written

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
GATES, STORES = "<h2>Gates</h2>", "<h2>Adapter stores</h2>"


def gates(**changes):
    return {
        "schema": 1,
        "users": 12345,
        "experts": 8,
        "entropy": 0.8765,
        "variance_across_users": 0.00123,
        "largest_load": 0.1875,
        "expert_similarity": 0.0321,
        "fallback_rate": 0.0049,
        "bytes_per_user": 1024,
        "warnings": [],
        **changes,
    }


def health(**changes):
    return {
        "users": 1000,
        "bytes_per_user": 2345.6,
        "database_bytes": 2345600,
        "gate_entropy": 0.5,
        "gate_variance": 0.25,
        "largest_load": 0.4,
        "expert_cosine": 0.1,
        "adapters": 17,
        "adapter_bytes": 3 << 20,
        "byte_budget": 10 << 30,
        "served_user": 90,
        "served_mean": 10,
        "fallback_rate": 0.1,
        "hit_rate": 0.75,
        "made": 25,
        "evicted": 3,
        "warnings": [],
        **changes,
    }


def run_with(folder, name, seed, values):
    path = write_run(folder / name, evaluation(name, seed))
    if values is not None:
        (path / "gates.json").write_text(json.dumps(values))
    return ReportRun.from_directory(path)


def render(tmp_path, runs, stores=()):
    page = tmp_path / "report.html"
    write_report(runs, page, title="A title", stores=stores, generated=NOW)
    return page.read_text(encoding="utf-8")


def cells(markup, name):
    """The values of the row of a name."""
    start = markup.index(f'<th scope="row">{name}<')
    row = markup[start : markup.index("</tr>", start)]
    return [part.split("</td>")[0] for part in row.split("<td>")[1:]]


def test_only_runs_that_keep_gates_get_the_section(tmp_path):
    plain = run_with(tmp_path, "sasrec", 1, None)
    markup = render(tmp_path, [plain])
    assert GATES not in markup
    assert STORES not in markup
    markup = render(tmp_path, [plain, run_with(tmp_path, "reclora", 2, gates())])
    section = markup[markup.index(GATES) : markup.index("Where the figures come from")]
    assert "reclora" in section
    assert "sasrec" not in section


def test_gates_are_shown_as_stored_a_column_for_every_model(tmp_path):
    runs = [
        run_with(tmp_path, "reclora", 1, gates()),
        run_with(tmp_path, "other", 2, {"entropy": 1.0}),  # of an older version
    ]
    markup = render(tmp_path, runs)
    for name, values in (
        ("Users looked at", ["12,345", "–"]),
        ("Evenness of gates", ["0.88", "1.00"]),
        ("Difference between users", ["0.0012", "–"]),
        ("Weight of the most used expert", ["18.8 %", "–"]),
        ("Likeness of experts", ["0.03", "–"]),
        ("Served by the mean gate", ["0.49 %", "–"]),
        ("Weights of a user", ["1,024 B", "–"]),
    ):
        assert cells(markup, name) == values


def test_a_store_shows_its_size_and_what_it_served(tmp_path):
    run = run_with(tmp_path, "reclora", 1, None)
    idle = {name: n for name, n in health(served_user=0, served_mean=0).items()}
    markup = render(tmp_path, [run], [("mine", health()), ("new one", idle)])
    section = markup[markup.index(STORES) :]
    for name, values in (
        ("Size of a user", ["2,346 B"] * 2),
        ("Size of the adapters", ["3.0 MiB"] * 2),
        ("Most they may take", ["10,240.0 MiB"] * 2),
        ("Requests", ["100", "–"]),
        ("Without weights of their own", ["10.0 %", "–"]),
        ("Adapter was there", ["75.0 %", "–"]),
        ("Evicted", ["3", "–"]),
    ):
        assert cells(section, name) == values
    assert "Nothing was served yet by the one that looked at new one." in section
    assert "Expired" not in section  # neither store counts it


def test_warnings_stand_below_with_the_name_of_who_has_them(tmp_path):
    run = run_with(tmp_path, "reclora", 1, gates(warnings=["Gates are almost even."]))
    store = ("mine", health(warnings=["Users have almost the same gates.", "Another."]))
    markup = render(tmp_path, [run], [store, ("fine", health())])
    assert "<bdi>reclora</bdi>: Gates are almost even.</p>" in markup
    assert "<bdi>mine</bdi>: Users have almost the same gates. Another.</p>" in markup
    assert "<bdi>fine</bdi>:" not in markup


def test_hostile_names_and_warnings_are_inert(tmp_path):
    run = run_with(tmp_path, "reclora", 1, gates(warnings=list(HOSTILE)))
    markup = render(tmp_path, [run], [(HOSTILE[0], health(warnings=list(HOSTILE)))])
    for text in HOSTILE[:4]:
        assert text not in markup
    assert "\u202e" not in markup
    assert "&lt;script&gt;" in markup


@pytest.mark.parametrize("text", ["[]", '{"schema": 1}', '{"entropy": "high"}'])
def test_other_files_are_refused(tmp_path, text):
    path = write_run(tmp_path / "reclora", evaluation("reclora", 1))
    (path / "gates.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"gates\.json is not a report of gates"):
        ReportRun.from_directory(path)


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(True, "count", "–"), ("7", "count", "–"), (None, "bytes", "–"), (0, "small", "0"),
     (1048575, "bytes", "1,048,575 B"), (1048576, "bytes", "1.0 MiB"),
     (0.005, "percent", "0.50 %")],
)  # fmt: skip
def test_numbers_are_written_and_anything_else_is_a_dash(value, form, text):
    assert written(value, form) == text
