"""Which rows meet in a step, with and without regard to their lengths."""

import numpy as np
import pytest
from toy_training import ToyModel, ToySource, fit, same_bits

from llmrec.errors import ConfigError
from llmrec.training.order import epoch_order


class Sized(ToySource):
    """Rows with lengths of their own."""

    def __init__(self, n=21, **options):
        super().__init__(n, **options)
        self.row_lengths = np.random.default_rng(1).integers(1, 30, n)


def padding(source, groups):
    """Places that are filled up when every row is as long as the longest of its step."""
    lengths = [source.row_lengths[rows] for rows in groups]
    return sum(int((part.max() - part).sum()) for part in lengths)


@pytest.mark.parametrize(("rows", "steps"), [(21, 3), (1_003, 120), (5, 5), (7, 1)])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_row_once_in_steps_of_the_same_sizes(rows, steps, grouped):
    groups = epoch_order(Sized(rows), steps, 4, 0, grouped)
    assert sorted(np.concatenate(groups).tolist()) == list(range(rows))
    sizes = [part.size for part in np.array_split(np.arange(rows), steps)]
    assert sorted(part.size for part in groups) == sorted(sizes)


def test_grouped_rows_of_a_step_have_like_lengths_and_steps_come_in_any_order():
    source = Sized(2_000)
    mixed, grouped = (epoch_order(source, 100, 4, 0, way) for way in (False, True))
    assert padding(source, grouped) < padding(source, mixed) / 10
    longest = [int(source.row_lengths[rows].max()) for rows in grouped]
    rises = np.mean(np.diff(longest) >= 0)
    assert 0.3 < rises < 0.7


def test_epochs_and_seeds_differ_and_repeat():
    source = Sized(300)
    first, again, later, other = (
        [rows.tolist() for rows in epoch_order(source, 10, seed, epoch, True)]
        for seed, epoch in ((4, 0), (4, 0), (4, 1), (5, 0))
    )
    assert first == again
    assert first != later
    assert first != other


def test_a_training_takes_the_rows_in_that_order():
    visited, source = [], Sized(40)
    source.before = lambda rows: visited.append(rows.tolist())
    fit(ToyModel(), source, epochs=1, batch_size=8, seed=6, group_by_length=True)
    assert visited == [rows.tolist() for rows in epoch_order(source, 5, 6, 0, True)]


def test_resuming_within_an_epoch_goes_on_with_the_same_rows(tmp_path):
    settings = {"epochs": 2, "group_by_length": True, "checkpoint_steps": 2, "learning_rate": 0.02}
    whole, cut = ToyModel(dropout=0.3), ToyModel(dropout=0.3)
    fit(whole, Sized(40, noise=0.1), **settings)

    class Stop(Exception):
        pass

    calls = []

    def interrupt(rows):
        calls.append(rows)
        if len(calls) == 8:
            raise Stop

    with pytest.raises(Stop):
        fit(cut, Sized(40, noise=0.1, before=interrupt), checkpoints=tmp_path, **settings)
    fresh = ToyModel(dropout=0.3)
    fit(fresh, Sized(40, noise=0.1), checkpoints=tmp_path, resume=True, **settings)
    assert same_bits(fresh.weights(), whole.weights())


def test_rows_without_lengths_are_refused_by_name():
    with pytest.raises(ConfigError, match="group_by_length: rows of ToySource have no lengths"):
        fit(ToyModel(), ToySource(), group_by_length=True)
