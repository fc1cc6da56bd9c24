"""Time the large simulation: from its parquet file to the first training batch, and evaluation.

Writing the simulated log is set-up and not timed. Each part runs in this process, so ask for this
benchmark alone when the peak memory matters: it counts everything since the process began.
"""

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import record

from llmrec.data import Split, leave_one_out
from llmrec.data.readers import read_uniform_folder
from llmrec.data.simulator import write_large

_BATCH, _LENGTH, _JUDGED_USERS = 256, 50, 20_000


def measure(preset: str = "simulate:large@1") -> list[Path]:
    """Write ``large_first_batch`` and ``large_evaluation``."""
    with tempfile.TemporaryDirectory() as folder:
        source = write_large(Path(folder) / "large", preset)
        started = time.perf_counter()
        split = leave_one_out(read_uniform_folder(source, "large"))
        _first_batch(split)
        seconds = time.perf_counter() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size: dict[str, str | int | float | bool] = {
        "preset": preset,
        "users": len(split.dataset.user_vocabulary),
        "items": len(split.dataset.item_vocabulary),
        "events": len(split.dataset.interactions),
    }
    first = size | {"batch_size": _BATCH, "peak_memory_gib": round(memory, 2)}
    paths = [record.write_benchmark("large_first_batch", first, [seconds])]
    judged, seconds = _evaluate(split)
    size |= {"judged_users": judged, "users_per_second": round(judged / seconds, 1)}
    return [*paths, record.write_benchmark("large_evaluation", size, [seconds])]


def _first_batch(split: Split) -> None:
    from llmrec.recommenders.sasrec.windows import SequenceWindows

    windows = SequenceWindows(split.train_histories(), _LENGTH)
    windows.batch(np.arange(_BATCH), np.random.default_rng(0))


def _evaluate(split: Split) -> tuple[int, float]:
    """Rank the full catalogue with popularity for the first users; users and seconds."""
    from llmrec.evaluation.ranks import rank_cases
    from llmrec.recommenders.popularity import Popularity

    model = Popularity().fit(split.train_histories())
    cases = split.cases("test")
    cases = cases.take(np.arange(min(_JUDGED_USERS, len(cases))))
    started = time.perf_counter()
    rank_cases(model.score_catalog, cases)
    return len(cases), time.perf_counter() - started
