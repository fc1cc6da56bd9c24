from dataclasses import replace

import ir_measures
import polars as pl
import pytest
from scripted_recommender import noise, random_dataset

from llmrec.data import Dataset, Interactions, global_time, leave_one_out
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation import evaluate, export_trec
from llmrec.evaluation.protocol import Judging, Protocol


def test_ir_measures_finds_our_figures_in_the_exported_files(tmp_path):
    split = global_time(random_dataset(events=12), train=0.5, valid=0.1)
    metrics = ("ndcg@10", "recall@10", "map@10", "mrr@10", "precision@5")
    protocol = Protocol.of(split, Judging(metrics=metrics))
    found = evaluate(noise(split.dataset.item_vocabulary, 2), split, protocol)
    run, qrels = export_trec(found, tmp_path)
    m = ir_measures
    measures = [m.nDCG @ 10, m.R @ 10, m.AP @ 10, m.RR @ 10, m.P @ 5]
    values = ir_measures.calc_aggregate(
        measures,
        ir_measures.read_trec_qrels(str(qrels)),
        ir_measures.read_trec_run(str(run)),
    )
    expected = [values[measure] for measure in measures]
    assert [found.metrics[name].mean for name in metrics] == pytest.approx(expected)


def test_what_the_format_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    data = random_dataset()
    frame = data.interactions.frame.with_columns(pl.col("user_id").str.replace("u003", "a b"))
    split = leave_one_out(Dataset("toy", Interactions(frame)))
    protocol = Protocol.of(split, Judging(metrics=("ndcg@10",)))
    found = evaluate(noise(split.dataset.item_vocabulary, 2), split, protocol)
    with pytest.raises(DataError, match="'a b' cannot be written"):
        export_trec(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="only a fresh evaluation"):
        export_trec(replace(found, top=None), tmp_path)
