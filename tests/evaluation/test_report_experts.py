"""The loads of experts, where a run's log has them."""

from types import SimpleNamespace

from llmrec.evaluation.report_figures import training_charts


def run_of(rows):
    return SimpleNamespace(name="m", source="m", log=tuple(rows), label="m")


def test_the_loads_of_the_busiest_and_the_idlest_expert_are_drawn_over_steps(monkeypatch):
    rows = [
        {"step": 10, "loss": 3.0, "expert_load_max": 2.5, "expert_load_min": 0.25},
        {"step": 20, "loss": 2.0, "expert_load_max": 1.2, "expert_load_min": 0.5},
        {"step": 20, "valid": {"ndcg@10": 0.1}},
    ]
    seen = {}

    def line_chart(title, series, x_title, y_title):
        seen[title] = [(value.x, value.mean) for value in series[0].values]
        return title

    monkeypatch.setattr("llmrec.evaluation.report_figures.line_chart", line_chart)
    monkeypatch.setattr("llmrec.evaluation.report_figures._short", lambda run: run.name)
    charts = training_charts([run_of(rows)], "ndcg@10", {"m": 0})
    loads = ["Load of the busiest expert", "Load of the idlest expert"]
    assert charts == ["Training loss", "Validation ndcg@10", *loads]
    assert seen["Load of the busiest expert"] == [(10, 2.5), (20, 1.2)]
    assert seen["Load of the idlest expert"] == [(10, 0.25), (20, 0.5)]
    assert training_charts([run_of(rows[2:])], "ndcg@10", {"m": 0}) == ["Validation ndcg@10"]
