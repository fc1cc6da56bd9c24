"""The command line and the result file that all timed scripts share.

Standard library only: our environment and the peers' both import this file.
"""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from setting import from_json


def parse_arguments(description: str) -> argparse.Namespace:
    """Read the command line of a timed script; ``--help`` says what each argument means."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["epoch", "recommend", "train"])
    parser.add_argument("--data", type=Path, required=True, help="events.parquet of prepared.py")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--setting", default="{}", help="JSON that overrides the common setting")
    parser.add_argument("--max-batches", type=int, help="stop an epoch early (a smoke run)")
    parser.add_argument("--seconds", type=float, default=300.0, help="training time of 'train'")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--lists", type=Path, help="parquet for the recommended lists of 'train'")
    parser.add_argument("--eval-batch-size", type=int, default=256, help="RecBole's evaluation")
    arguments = parser.parse_args()
    if arguments.task == "train" and arguments.lists is None:
        parser.error("train needs --lists, the parquet file for the recommended lists.")
    for name in ("data", "out", "lists"):
        path = getattr(arguments, name)
        setattr(arguments, name, path and path.resolve())
    arguments.setting = from_json(arguments.setting)
    return arguments


def write_result(path: Path, result: dict[str, Any], packages: list[str]) -> None:
    """Write a result as JSON, with the versions of what produced it."""
    versions = {name: version(name) for name in [*packages, "torch", "numpy"]}
    result = {**result, "versions": {"python": platform.python_version(), **versions}}
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
