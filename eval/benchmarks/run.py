"""Entry of ``make bench``: measure our own speed and write it to ``eval/results/benchmarks``.

Usage: ``python eval/benchmarks/run.py [startup] [epoch] [rank] [contrast] [trie_beam]
[semantic_ids] [onerec_training] [inference] [gated_lora] [adapter_store] [large]``; without
names, all but the last five, which need minutes, and the last two also gigabytes. Comparison with
other libraries is ``peers.py``, neighbour search ``retrieval.py``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path


def _startup() -> list[Path]:
    import startup

    return startup.measure()


def _epoch() -> list[Path]:
    import own_sasrec

    return own_sasrec.measure("epoch")


def _rank() -> list[Path]:
    import own_sasrec

    return own_sasrec.measure("recommend")


def _contrast() -> list[Path]:
    import contrast_steps

    return contrast_steps.measure()


def _large() -> list[Path]:
    import large

    return large.measure()


def _trie_beam() -> list[Path]:
    import trie_beam

    return trie_beam.measure()


def _semantic_ids() -> list[Path]:
    import semantic_ids

    return semantic_ids.measure()


def _onerec_training() -> list[Path]:
    import onerec_training

    return onerec_training.measure()


def _inference() -> list[Path]:
    import inference

    return inference.measure()


def _gated_lora() -> list[Path]:
    import gated_lora

    return gated_lora.measure()


def _adapter_store() -> list[Path]:
    import adapter_store

    return adapter_store.measure()


BENCHMARKS: dict[str, Callable[[], list[Path]]] = {
    "startup": _startup,
    "epoch": _epoch,
    "rank": _rank,
    "contrast": _contrast,
    "trie_beam": _trie_beam,
    "semantic_ids": _semantic_ids,
    "onerec_training": _onerec_training,
    "inference": _inference,
    "gated_lora": _gated_lora,
    "adapter_store": _adapter_store,
    "large": _large,
}

LONG = ("semantic_ids", "inference", "gated_lora", "adapter_store", "large")


def main() -> None:
    """Run the benchmarks that were named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or [name for name in BENCHMARKS if name not in LONG]
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        parser.error(f"unknown benchmark {unknown}; known are {', '.join(BENCHMARKS)}.")
    for name in names:
        print(f"{name} ...", flush=True)
        for path in BENCHMARKS[name]():
            print(f"written: {path.name}", flush=True)


if __name__ == "__main__":
    main()
