"""Make labelled worlds, judge LOS-Net beside all baselines, carry detectors from world to world.

    python eval/signature_worlds/run.py eval/signature_worlds/facts.yaml \
        --output eval/results --work runs/worlds --vary size seed vocabulary
    python eval/signature_worlds/run.py eval/signature_worlds/documents.yaml \
        --output /tmp/try --work /tmp/try --select --small

Three steps, all unless ``--step`` names one. ``make``: a language model is taught and asked, and
its signatures are kept under ``WORK/<kind>-<world>``; what is there is used again. ``judge``: all
methods on the first world, ``OUTPUT/signatures/world-<name>.json``, the name being that of the
settings, or the kind. ``transfer`` (world (c)): ``--vary`` names further worlds of the same kind by
other language models; every world's detectors are judged on every other as they are and after 200
labels, ``OUTPUT/signatures/world-<name>-from-<world>.json``. Two changes at once are joined by a
hyphen, ``size-seed``. ``--from`` makes one of the results at a time.

``--select`` leaves the test part alone: the calibration part stands in for it. ``--small`` shows
that everything fits together; its figures mean nothing.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from llmrec.data.named import data_home
from llmrec.errors import ConfigError, run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "signatures"))

VARIANTS: dict[str, dict[str, Any]] = {
    "size": {"model": {"hidden_size": 128, "intermediate_size": 384, "layers": 3}},
    "seed": {"model": {"seed": 1}, "seed": 1},
    "vocabulary": {"model": {"vocab_size": 1024}},
}
STEPS = ("make", "judge", "transfer")
SMALL: dict[str, Any] = {"limit": 600, "seeds": [0], "transfer_seeds": [0]}


def main() -> None:
    """Read the arguments, make the worlds, write the figures."""
    parser = argparse.ArgumentParser(description="Make labelled worlds and judge LOS-Net on them.")
    parser.add_argument("settings", type=Path, help="a world in YAML")
    parser.add_argument("--output", type=Path, required=True, help="results folder")
    parser.add_argument("--work", type=Path, required=True, help="folder of models and signatures")
    parser.add_argument("--data", type=Path, help="data folder; else LLMREC_DATA_HOME")
    parser.add_argument("--small", action="store_true", help="a try of a few minutes")
    parser.add_argument("--select", action="store_true", help="leave the test part alone")
    parser.add_argument("--step", choices=STEPS, help="only this step")
    parser.add_argument("--only", help="make this world and no more")
    parser.add_argument("--vary", nargs="*", default=[], help=", ".join(sorted(VARIANTS)))
    parser.add_argument("--from", dest="source", help="carry only this world's detectors over")
    parser.add_argument("--baselines", nargs="*", help="only these")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--test-runs", type=int, default=1, help="looks at the test part so far")
    parser.add_argument("--commit", help="of the code, where there is no repository to ask")
    arguments = parser.parse_args()
    data = arguments.data or data_home()

    # ---- worlds, and one split of groups for all ----
    from reporting import limit_threads, without_test
    from settings import changed, load_settings
    from worlds import make_world

    from llmrec.signatures.splits import split_groups

    limit_threads(1)
    base = changed(SMALL if arguments.small else {}, arguments.set)
    names = ["base", *arguments.vary] if arguments.only is None else [arguments.only]
    settings, worlds = {}, {}
    for name in names:
        settings[name] = load_settings(arguments.settings, base, *changes_of(name))
        folder = arguments.work / f"{settings[name].kind}-{name}"
        started = time.perf_counter()
        worlds[name] = make_world(settings[name], data, folder)
        print(f"{name}: {worlds[name].about}, {time.perf_counter() - started:.0f} s", flush=True)
    if arguments.step == "make" or arguments.only is not None:
        return
    groups = sorted({group for world in worlds.values() for group in world.signatures.groups})
    split = split_groups(groups, settings["base"].shares)
    if arguments.select:
        split = without_test(split)

    # ---- figures of the first world ----
    from judging import judge_base, judge_transfer

    if arguments.step in (None, "judge"):
        print(judge_base(worlds["base"], settings["base"], split, arguments), flush=True)

    # ---- every world's detectors on every other ----
    if arguments.step in (None, "transfer") and len(worlds) > 1:
        for sentence in judge_transfer(worlds, settings, split, arguments):
            print(sentence, flush=True)


def changes_of(name: str) -> list[dict[str, Any]]:
    """What sets a world apart from the base.

    >>> changes_of("vocabulary-seed")
    [{'model': {'vocab_size': 1024}}, {'model': {'seed': 1}, 'seed': 1}]

    Raises:
        ConfigError: There is no such change.
    """
    parts = [] if name == "base" else name.split("-")
    unknown = sorted(set(parts) - VARIANTS.keys())
    if unknown:
        raise ConfigError(f"world {name}: unknown {', '.join(unknown)}; there are {[*VARIANTS]}.")
    return [VARIANTS[part] for part in parts]


if __name__ == "__main__":
    run_script(main)
