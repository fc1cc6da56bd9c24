"""Scripts of eval/benchmarks as modules: the folder is no package, its files go by bare names."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "eval" / "benchmarks"
# eval/record.py, which other tests load, goes by one of these names as well
NEIGHBOURS = ("record", "work", "ceiling", "inference", "inference_jobs", "inference_storage")


@contextmanager
def benchmark_scripts(*names: str) -> Iterator[dict[str, ModuleType]]:
    """Import scripts by name, and leave the modules of others as they were."""
    dropped = {*names, *NEIGHBOURS}
    others = {name: sys.modules.pop(name) for name in dropped if name in sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: import_module(name) for name in names}
    for name in dropped:
        sys.modules.pop(name, None)
    sys.modules.update(others)
