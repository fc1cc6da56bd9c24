"""The tables in README.md and docs are the committed results."""

import importlib.util
import sys
from pathlib import Path

import pytest

from llmrec.evaluation.results import Benchmark, load_results

ROOT = Path(__file__).parents[2]


def load_script(name="readme"):
    path = ROOT / "eval" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"eval_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.mark.parametrize("page", load_script().PAGES)
def test_pages_hold_the_tables_made_from_the_results(page):
    script = load_script()
    text = (ROOT / page).read_text(encoding="utf-8")
    assert ":begin -->" in text
    assert script.with_tables(text) == text


def test_a_changed_number_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = load_script()
    changed = script.replace(text, "overview", "| sasrec | 0.9999 |")
    assert changed != text
    assert script.with_tables(changed) == text


def test_every_result_has_a_row_with_figures():
    """A table shows the metrics of its task: no row is empty."""
    script = load_script()
    results = load_results(script.RESULTS)
    rows = [
        line
        for task in {each.task: script.columns_of(each) for each in results}.items()
        for line in script.results_tables(dict([task])).splitlines()[4:]
    ]
    assert len(rows) == len(results)
    assert not [row for row in rows if "| - |" in row]


def test_the_overview_has_the_figures_of_each_model_in_the_column_of_its_task():
    script = load_script("tables")
    results = [each for each in load_results(ROOT / "eval" / "results")]
    header, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in script.overview(results).splitlines()
    )
    cells = {
        (row[0], task): cell for row in rows for task, cell in zip(header[1:], row[1:], strict=True)
    }
    ranked = [each for each in results if "ndcg@10" in each.metrics]
    assert sum(bool(cell) for cell in cells.values()) == len(ranked)
    for each in ranked:
        name = f"{each.model} {each.variant}".strip()
        assert cells[name, each.task].startswith(f"{each.metrics['ndcg@10'].mean:.4f}")


def benchmark(**values):
    about = {"benchmark": "some_job", "setting": {}, "ours": {"seconds": 0.002}}
    rest = {"peer": None, "ratio": None, "ceiling_share": None, "machine": "m", "commit": "c"}
    return Benchmark.model_validate(about | rest | values)


class TestBenchmarks:
    """Rows of the table of benchmarks."""

    def row(self, names=(), **values):
        script = load_script("tables")
        return script.benchmark_table([benchmark(**values)], dict(names)).splitlines()[-1]

    def test_alone(self):
        assert self.row() == "| some job | 2 ms |  |  |"
        assert self.row({"some_job": "a job"}) == "| a job | 2 ms |  |  |"

    def test_faster_and_slower(self):
        peer = {"name": "Other", "version": "1.2", "seconds": 0.005}
        ratio = {"median": 2.5, "min": 2.0, "max": 3.0}
        expected = "| some job | 2 ms | Other (1.2): 5 ms | 2.5 times faster (2.0 to 3.0) |"
        assert self.row(peer=peer, ratio=ratio) == expected
        peer = {"name": "our own", "version": "this version", "seconds": 0.0005}
        ratio = {"median": 0.25, "min": 0.2, "max": 0.5}
        expected = "| some job | 2 ms | our own: 500 µs | 4.0 times slower (2.0 to 5.0) |"
        assert self.row(peer=peer, ratio=ratio) == expected

    def test_as_fast_and_very_much_faster(self):
        peer = {"name": "Other", "version": "1.2", "seconds": 0.002}
        even = self.row(peer=peer, ratio={"median": 0.98, "min": 0.9, "max": 1.1})
        assert even.endswith("| as fast (0.9 to 1.1) |")
        most = self.row(peer=peer, ratio={"median": 10968.04, "min": 534.2, "max": 12798.0})
        assert most.endswith("| 10,968 times faster (534 to 12,798) |")

    def test_quality_in_equal_time(self):
        setting = {"ours_ndcg@10": 0.05, "peer_ndcg@10": 0.01}
        assert self.row(setting=setting).endswith("| at ndcg@10 0.0500 against 0.0100 |")


def test_a_stream_is_a_row_for_every_way():
    script = load_script("tables")
    same = {"mean": 0.0, "ci95": [0.0, 0.0]}
    other = {"mean": 0.01, "ci95": [-0.02, 0.04]}
    still = {"by_slice": [0.5, 0.6], "mean": 0.55, "over_no_update": same}
    moved = {"by_slice": [0.5, 0.62], "mean": 0.56, "over_no_update": other}
    ways = {
        "no update": {"auc": still, "logloss": still, "seconds": 0.0},
        "refresh": {"auc": moved, "logloss": moved, "seconds": 7.4},
    }
    found = {
        "pairs": [9, 9],
        "ways": ways,
        "before_the_stream": {"refresh": {"auc": 0.7, "logloss": 0.6}},
    }
    head, line, first, second = script.stream_table(found).splitlines()
    assert head.count("|") == line.count("|") == first.count("|") == second.count("|")
    assert first == "| no update | 0.5000 | 0.6000 | 0.5500 |  | 0.5500 |  |  | 0 |"
    assert second.startswith("| refresh | 0.5000 | 0.6200 | 0.5600 | +0.0100 [-0.0200, +0.0400] |")
    assert second.endswith("| 0.7000, 0.6000 | 7 |")
