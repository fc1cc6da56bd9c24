"""Committed ablations: their form, their place and their table."""

import pytest
from pydantic import ValidationError

from llmrec.errors import ArtifactError
from llmrec.evaluation.ablation import (
    Ablation,
    Difference,
    Variant,
    ablation_table,
    load_ablations,
    write_ablation,
)
from llmrec.evaluation.results import SeedFigure


def figure(*values):
    return SeedFigure(mean=sum(values) / len(values), ci95=(0.0, 1.0), per_seed=values)


def variant(name, difference=None, values=(0.2, 0.4)):
    measured = figure(*values)
    return Variant(
        name=name, figure=measured, validation=measured, difference=difference, seconds=12.0
    )


def ablation(*variants):
    return Ablation(
        name="parts",
        task="some-task",
        metric="ndcg@10",
        recipe="eval/recipes/x.yaml",
        seeds=(1, 2),
        variants=variants,
        n_users=1234,
        commit="abc",
        test_runs=1,
        hardware="a processor",
    )


OTHER = Difference(mean=-0.01, ci95=(-0.02, -0.005), p=0.01)


def test_written_read_and_shown(tmp_path):
    made = ablation(variant("whole"), variant("without", OTHER))
    path = write_ablation(made, tmp_path)
    assert path == tmp_path / "ablations" / "parts.json"
    assert load_ablations(tmp_path) == [made]
    rows = ablation_table(made).splitlines()
    assert rows[0] == "**some-task**, ndcg@10, 1,234 users, 2 seeds"
    assert rows[-2] == "| whole | 0.3000 | - | 0.3000 | 12 |"
    assert rows[-1] == "| without | 0.3000 | -0.0100 [-0.0200, -0.0050] | 0.3000 | 12 |"


def test_only_the_reference_has_no_difference():
    with pytest.raises(ValidationError, match="without: all but the first"):
        ablation(variant("whole"), variant("without"))
    with pytest.raises(ValidationError, match="whole: all but the first"):
        ablation(variant("whole", OTHER))


def test_one_value_per_seed():
    with pytest.raises(ValidationError, match="not one value per seed"):
        ablation(variant("whole", values=(0.1,)))


def test_a_damaged_file_is_refused(tmp_path):
    path = write_ablation(ablation(variant("whole")), tmp_path)
    path.write_text(path.read_text().replace('"seeds"', '"seed"'))
    with pytest.raises(ArtifactError, match=r"parts\.json"):
        load_ablations(tmp_path)
