"""What a process does to a shared cache, for tests."""

import sys
from pathlib import Path

from llmrec.inference.cache import ResponseCache
from llmrec.inference.results import Generation


def answer(name):
    return Generation(f"answer of {name}", "stop", 1, 2)


def write(path, first, last):
    cache = ResponseCache(path)
    for i in range(first, last):
        cache.put({f"key-{i}": answer(i), f"own-{first}-{i}": answer(i)}, owner=f"o{first}")


def write_for_ever(path, started):
    """Commit batches of ten until killed; the eleventh shows that one has been committed."""
    cache = ResponseCache(path)
    batch = 0
    while True:
        cache.put({f"{batch}-{i}": answer(f"{batch}-{i}" * 2000) for i in range(10)})
        batch += 1
        if batch == 3:
            Path(started).touch()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        write_for_ever(sys.argv[2], sys.argv[3])
