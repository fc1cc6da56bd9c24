"""The report as a reader and a browser meet it: parsed back from the file."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import polars as pl
import pytest
from report_fixture import HOSTILE, catalog, evaluation, popularity, top_lists, write_run

from llmrec.errors import ConfigError, DataError, ProtocolError
from llmrec.evaluation.report import ReportRun, write_report

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
VOID = {"meta", "link", "img", "br", "input", "hr"}
COMPARISON = {
    "metric": "ndcg@10",
    "other": "knn",
    "reference": "pop",
    "difference": 0.0123,
    "ci95": [-0.01, 0.03],
    "p_holm": 0.25,
}


class Page(HTMLParser):
    """Elements, attributes and text of a page; complains about unbalanced elements."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if data.strip() and "style" not in self._open:
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def runs(tmp_path):
    shared = {"catalog": catalog(), "popularity": popularity()}
    pop = write_run(tmp_path / "runs" / "a", evaluation("pop", 1))
    knn = write_run(tmp_path / "runs" / "b", evaluation("knn", 2), log=True)
    return [ReportRun.from_directory(pop, **shared), ReportRun.from_directory(knn, **shared)]


def render(runs, tmp_path, **options):
    path = tmp_path / "report.html"
    assert write_report(runs, path, **{"title": "A title", "generated": NOW, **options}) == path
    return path.read_text(encoding="utf-8")


def test_sections_come_in_the_order_of_a_readers_questions(runs, tmp_path):
    page = Page(render(runs, tmp_path, comparisons=[COMPARISON]))
    headings = [
        "Metrics",
        "Paired differences",
        "Training",
        "Who and what the models serve well",
        "Cold items",
        "Rank of the target",
        "What each model recommends",
        "Example users",
        "Where the figures come from",
    ]
    places = [page.texts.index(heading) for heading in headings]
    assert places == sorted(places)


def test_headline_names_data_protocol_users_date_and_versions(runs, tmp_path):
    text = Page(render(runs, tmp_path)).text
    assert "4 March 2026, 05:06 UTC" in text
    assert "Data set toy" in text
    assert "Users judged 40" in text
    assert "Users left out 2" in text
    assert "Trained with llmrec 0.1.0 " in text
    assert "not installed" not in text
    assert (
        "Each model ranks the full catalogue, items already seen left out, "
        "judged on the test part of the split leave-one-out." in text
    )


def test_figures_equal_the_stored_ones(runs, tmp_path):
    texts = Page(render(runs, tmp_path)).texts
    for run in runs:
        for name in ("ndcg@10", "hit_rate@10", "coverage@10"):
            figure = run.evaluation.metrics[name]
            assert f"{figure.mean:.4f}" in texts
            if figure.ci95 is not None:
                assert f"{figure.ci95[0]:.4f}–{figure.ci95[1]:.4f}" in texts
        cold = run.evaluation.slices["cold"]["cold"].metrics["ndcg@10"]
        assert f"{cold.mean:.4f}" in texts


def test_paired_differences_are_shown_with_interval_p_value_and_verdict(runs, tmp_path):
    settled = COMPARISON | {"metric": "hit_rate@10", "ci95": [0.001, 0.03], "p_holm": 0.0001}
    text = Page(render(runs, tmp_path, comparisons=[COMPARISON, settled])).text
    assert "knn pop ndcg@10 +0.0123 −0.0100 to +0.0300 0.250 open" in text
    assert "knn pop hit_rate@10 +0.0123 +0.0010 to +0.0300 < 0.001 higher" in text


def test_differences_without_a_value_or_interval_are_shown_as_such(runs, tmp_path):
    without = COMPARISON | {"ci95": [None, float("nan")], "p_holm": None}
    undefined = COMPARISON | {"metric": "hit_rate@10", "difference": float("nan")}
    text = Page(render(runs, tmp_path, comparisons=[without, undefined])).text
    assert "knn pop ndcg@10 +0.0123 – open" in text
    assert "knn pop hit_rate@10" not in text


def test_a_target_that_the_seen_filter_took_out_is_not_ranked(runs, tmp_path):
    table = runs[0].per_user.with_columns(target_rank=float("inf"))
    table.write_parquet(f"{runs[0].source}/per_user.parquet")
    markup = render([ReportRun.from_directory(runs[0].source)], tmp_path)
    assert markup.count("target not ranked") == 4
    assert "pop, &gt;500: 100.0 %" in markup


def test_a_comparison_may_name_runs_by_their_directories(runs, tmp_path):
    row = COMPARISON | {"other": "b", "reference": runs[0].source}
    assert "knn pop ndcg@10 +0.0123" in Page(render(runs, tmp_path, comparisons=[row])).text


def test_example_users_show_lists_with_their_hits(runs, tmp_path):
    markup = render(runs, tmp_path)
    hits = markup.count("✓ hit")
    shown = [int(user) for user in re.findall(r"<h3>User <bdi>(\d+)</bdi>", markup)]
    assert len(shown) == 4
    expected = 0
    for run in runs:
        targets = run.per_user.filter(pl.col("user_id").is_in(shown))
        both = top_lists(run.evaluation).join(targets, on="user_id")
        expected += both.filter(pl.col("item_id") == pl.col("target_id")).height
    assert hits == expected > 0


def test_history_stored_with_a_run_is_cut_before_the_target(tmp_path):
    run = ReportRun.from_directory(write_run(tmp_path / "r", evaluation("pop", 1)))
    markup = render([run], tmp_path)
    user = int(re.findall(r"<h3>User <bdi>(\d+)</bdi>", markup)[0]) - 100
    length = 1 + user % 12
    shown = [1 + (user + i) % 60 for i in range(length)][-8:]
    past = re.findall(r"past items?, newest last</h4>\s*<p>(.*?)</p>", markup, re.DOTALL)[0]
    assert [int(item) for item in re.findall(r"<bdi>(\d+)</bdi>", past)] == shown


def test_lists_are_counted(runs, tmp_path):
    text = Page(render(runs, tmp_path)).text
    for run in runs:
        different = run.recommendations["item_id"].n_unique()
        assert f"{run.name} 40 {different} {100 * different / 60:.1f} %" in text


def test_popularity_bands_hold_all_recommendations(runs, tmp_path):
    markup = render(runs, tmp_path)
    tracks = re.findall(r'<div class="track">(.*?)</div>', markup)
    assert len(tracks) == 3  # the targets and two models
    for track in tracks:
        widths = [float(width) for width in re.findall(r"width:([\d.]+)%", track)]
        assert sum(widths) == pytest.approx(100, abs=0.1)


def test_lists_of_a_few_users_are_not_generalised(runs, tmp_path):
    few = runs[0].recommendations.filter(pl.col("user_id") < 105)
    few.write_parquet(f"{runs[0].source}/recommendations.parquet")
    page = Page(render([ReportRun.from_directory(runs[0].source)], tmp_path))
    assert "fewer say too little" in page.text
    assert "Example users" in page.texts
    assert "User" in page.texts


def test_hostile_text_is_inert(tmp_path):
    found = evaluation(HOSTILE[0], 1, variant=HOSTILE[1], dataset=HOSTILE[2])
    path = write_run(tmp_path / "r", found, log=True)
    run = ReportRun.from_directory(path, catalog=catalog(), popularity=popularity())
    row = COMPARISON | {"other": HOSTILE[0], "reference": HOSTILE[0], "metric": HOSTILE[3]}
    markup = render([run], tmp_path, title=HOSTILE[4] + HOSTILE[1], comparisons=[row])
    page = Page(markup)
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"script", "img", "a", "iframe", "object", "embed", "form", "link", "base"}
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert "javascript" not in " ".join(value or "" for value in attributes.values())
        assert set(attributes).isdisjoint({"href", "src", "srcset", "xlink:href", "action"})
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", markup)
    assert "<script>alert(1)</script>" in page.texts  # shown as it is
    assert "{{ 7 * 7 }}{% raw %}" in page.texts
    assert "x" * 200 not in markup


def test_nothing_is_loaded_from_anywhere(runs, tmp_path):
    markup = render(runs, tmp_path)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    metas = [attributes for tag, attributes in Page(markup).elements if tag == "meta"]
    assert policy in [attributes.get("content") for attributes in metas]
    assert set(re.findall(r"https?://[^\"' ]+", markup)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in markup
    assert "@import" not in markup


def test_every_drawing_is_well_formed_and_has_a_name(runs, tmp_path):
    markup = render(runs, tmp_path, comparisons=[COMPARISON])
    drawings = re.findall(r"<svg.*?</svg>", markup, re.DOTALL)
    roots = [ElementTree.fromstring(drawing) for drawing in drawings]
    named = [root.get("aria-label") for root in roots if root.get("role") == "img"]
    assert named == [
        "ndcg@10 with 95 % intervals",
        "Paired difference in ndcg@10",
        "Training loss",
        "Validation ndcg@10",
        "ndcg@10 by user activity",
        "ndcg@10 by popularity of the target",
        "Rank of the target",
    ]
    assert "nan" not in "".join(drawings).lower()


def test_equal_input_gives_equal_bytes(runs, tmp_path):
    again = [
        ReportRun.from_directory(run.source, catalog=catalog(), popularity=popularity())
        for run in runs
    ]
    assert render(runs, tmp_path) == render(again, tmp_path)


def test_ties_are_marked_and_the_sentence_admits_them(tmp_path):
    paths = [write_run(tmp_path / str(seed), evaluation(f"m{seed}", seed)) for seed in (1, 2)]
    runs = [ReportRun.from_directory(path) for path in paths]
    for run, (low, mean, high) in zip(runs, [(0.1, 0.2, 0.3), (0.25, 0.35, 0.45)], strict=True):
        figure = run.evaluation.metrics["ndcg@10"]
        values = {"mean": mean, "ci95": (low, high)}
        run.evaluation.metrics["ndcg@10"] = figure.model_copy(update=values)
    page = Page(render(runs, tmp_path))
    assert "m2 reaches ndcg@10 0.3500 (95 % interval 0.2500–0.4500), the best mean" in page.text
    assert "its interval overlaps that of m1" in page.text
    assert page.texts[page.texts.index("0.2000") - 1] == "≈"
    assert page.texts[page.texts.index("0.3500") - 1] == "★"


def test_unlike_protocols_are_refused_with_what_differs(tmp_path):
    one = write_run(tmp_path / "one", evaluation("pop", 1))
    two = write_run(tmp_path / "two", evaluation("pop", 2, filter_seen=False))
    runs = [ReportRun.from_directory(one), ReportRun.from_directory(two)]
    with pytest.raises(ProtocolError, match=r"one and .*two.*filter_seen \(True and False\)"):
        render(runs, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_unlike_protocols_stand_in_parts_of_their_own_when_asked(tmp_path):
    one = write_run(tmp_path / "one", evaluation("pop", 1))
    two = write_run(tmp_path / "two", evaluation("pop", 2, part="valid"))
    runs = [ReportRun.from_directory(one), ReportRun.from_directory(two)]
    page = Page(render(runs, tmp_path, separate=True))
    assert "Do not compare figures across parts." in page.text
    assert page.texts.count("Metrics") == 2
    assert "judged on the validation part" in page.text


def test_other_metrics_asked_for_do_not_make_protocols_unlike(tmp_path):
    one = write_run(tmp_path / "one", evaluation("pop", 1))
    two = write_run(tmp_path / "two", evaluation("knn", 2, metrics=("ndcg@10",)))
    runs = [ReportRun.from_directory(one), ReportRun.from_directory(two)]
    assert "Models 2" in Page(render(runs, tmp_path)).text


def test_models_of_one_name_are_told_apart(tmp_path):
    found = [evaluation("sasrec", 1, "full"), evaluation("sasrec", 2, "sampled")]
    paths = [write_run(tmp_path / one.variant, one) for one in found]
    text = Page(render([ReportRun.from_directory(path) for path in paths], tmp_path)).text
    assert "sasrec (full)" in text
    assert "sasrec (sampled)" in text


def test_runs_without_training_lists_or_slices_still_make_a_report(tmp_path):
    found = evaluation("pop", 1)
    object.__setattr__(found, "slices", {})
    path = write_run(tmp_path / "r", found, lists=False)
    (path / "histories.parquet").unlink()
    text = Page(render([ReportRun.from_directory(path)], tmp_path)).text
    assert "None of these models has a training log with values to draw." in text
    assert "evaluated without slices" in text
    assert "without the slice of cold items" in text
    assert "No user has stored lists" in text


def test_a_loss_that_was_never_finite_is_not_drawn(tmp_path):
    path = write_run(tmp_path / "r", evaluation("pop", 1))
    (path / "log.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": Infinity}\n')
    text = Page(render([ReportRun.from_directory(path)], tmp_path)).text
    assert "None of these models has a training log with values to draw." in text


def test_judged_pairs_make_a_report_without_ranks(tmp_path):
    found = evaluation("ctr", 1, candidates="pairs", metrics=("auc", "logloss"), slices=())
    figure = found.metrics["ndcg@10"]
    object.__setattr__(found, "metrics", {"auc": figure, "logloss": figure})
    object.__setattr__(found, "slices", {})
    object.__setattr__(found, "per_user", found.per_user.select("user_id"))
    path = write_run(tmp_path / "pairs", found, lists=False)
    run = ReportRun.from_directory(path, catalog=catalog(), popularity=popularity())
    text = Page(render([run], tmp_path)).text
    assert "Each model scores the judged pairs" in text
    assert "These runs were not judged by ranks." in text


def test_a_comparison_with_an_unknown_run_or_a_missing_value_is_refused(runs, tmp_path):
    with pytest.raises(DataError, match=r"comparison 1 names 'kn', .* did you mean 'knn'"):
        render(runs, tmp_path, comparisons=[COMPARISON | {"other": "kn"}])
    broken = {key: value for key, value in COMPARISON.items() if key != "ci95"}
    with pytest.raises(DataError, match="comparison 1 has no 'ci95'"):
        render(runs, tmp_path, comparisons=[broken])


def test_an_unknown_metric_is_refused(runs, tmp_path):
    with pytest.raises(
        ConfigError, match="no run has the metric 'ndgc@10'; did you mean 'ndcg@10'"
    ):
        render(runs, tmp_path, metric="ndgc@10")


def test_no_run_and_the_same_run_twice_are_refused(runs, tmp_path):
    with pytest.raises(DataError, match="at least one run"):
        render([], tmp_path)
    with pytest.raises(DataError, match="the same run was given twice"):
        render([runs[0], runs[0]], tmp_path)
