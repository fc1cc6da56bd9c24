"""Make labelled worlds and judge LOS-Net on them.

    cd eval/signature_worlds
    python run.py facts.yaml --output ../../runs/worlds/facts
    python run.py facts.yaml --output ../../runs/worlds/try --small
    python run.py documents.yaml --output ../../runs/worlds/b --vary size seed vocabulary

One core: see the head of each YAML file for its time. ``--small`` takes two minutes and shows that
everything fits together; its figures mean nothing. ``--vary`` makes further worlds of the same
kind, by other language models, and judges every detector on every world as it is and after 200
labels (world (c)). The results go to ``OUTPUT/results.json``; a world that is there is used again.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError, LlmrecError

VARIANTS: dict[str, dict[str, Any]] = {
    "size": {"model": {"hidden_size": 192, "intermediate_size": 512}},
    "seed": {"model": {"seed": 1}, "seed": 1},
    "vocabulary": {"model": {"vocab_size": 1024}},
}
SMALL: dict[str, Any] = {"limit": 1000, "detector_seeds": [0]}


def main() -> None:
    """Read the arguments, make the worlds, write the figures."""
    parser = argparse.ArgumentParser(description="Make labelled worlds and judge LOS-Net on them.")
    parser.add_argument("settings", type=Path, help="a world in YAML")
    parser.add_argument("--output", type=Path, required=True, help="folder for worlds and results")
    parser.add_argument("--small", action="store_true", help="a try of two minutes")
    parser.add_argument("--vary", nargs="*", default=[], choices=sorted(VARIANTS))
    arguments = parser.parse_args()
    data = os.environ.get("LLMREC_DATA_HOME")
    if not data:
        raise ConfigError("set LLMREC_DATA_HOME to the folder with qa/ and text/.")

    # ---- worlds ----
    from judging import judge
    from settings import load_settings
    from transfer import transfer_table
    from worlds import make_world

    base = SMALL if arguments.small else {}
    worlds, detectors, results = {}, {}, {}
    for name in ["base", *arguments.vary]:
        settings = load_settings(arguments.settings, _joined(base, VARIANTS.get(name, {})))
        started = time.perf_counter()
        worlds[name] = make_world(settings, Path(data), arguments.output / name)
        made = time.perf_counter()
        figures, detectors[name] = judge(worlds[name], settings)
        results[name] = {
            "world": worlds[name].about,
            **figures,
            "seconds": {
                "world": round(made - started, 1),
                "judging": round(time.perf_counter() - made, 1),
            },
            "settings": settings.model_dump(mode="json"),
        }
        print(f"{name}: {json.dumps({k: v for k, v in results[name].items() if k != 'settings'})}")

    # ---- every detector on every world ----
    if arguments.vary:
        results["transfer"] = transfer_table(worlds, detectors, settings.seed)
        print(json.dumps(results["transfer"], indent=2))

    from llmrec.storage import write_json

    write_json(arguments.output / "results.json", results)
    print(f"saved in {arguments.output / 'results.json'}")


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two sets of changes as one; what both say about the model is joined."""
    model = {**first.get("model", {}), **second.get("model", {})}
    return {**first, **second, **({"model": model} if model else {})}


if __name__ == "__main__":
    try:
        main()
    except LlmrecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
