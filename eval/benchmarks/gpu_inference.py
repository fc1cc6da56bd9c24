"""Put what ``scripts/gpu_inference.py`` measured elsewhere among the committed benchmarks.

    python eval/benchmarks/gpu_inference.py measured.json [--commit HASH] [--folder F]

One benchmark per model and job, ``gpu_<model>_<job>``, named after the card that it ran on. The
whole file is kept as their details. Nothing is measured here.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from record import RESULTS

from llmrec.errors import ArtifactError
from llmrec.evaluation.results import BENCHMARKS, Benchmark, Timing, write_result
from llmrec.storage import read_json, write_json

_SIZES = ("requests", "prompt_tokens", "continuation_tokens", "answer_tokens", "tokens")


def convert(measured: Path, commit: str | None, folder: Path = RESULTS) -> list[Path]:
    """Write the benchmarks of a file.

    Args:
        measured: What the script wrote.
        commit: The commit that was measured, where the file does not say.
        folder: The results folder.

    Raises:
        ArtifactError: The file is of another kind, or nobody knows the commit.
    """
    found = read_json(measured)
    if not isinstance(found, dict) or "matmul_tflops" not in found or not found.get("models"):
        raise ArtifactError(f"{measured} is not what scripts/gpu_inference.py writes.")
    known = found.get("commit", "uncommitted")
    commit = commit or (None if known == "uncommitted" else known)
    if commit is None:
        raise ArtifactError(f"{measured} does not say which commit was measured; give --commit.")
    write_json(folder / BENCHMARKS / "details" / "gpu_inference.json", found)
    return [
        write_result(_benchmark(found, name, model["weights"], job, figures, commit), folder)
        for name, model in found["models"].items()
        for job, figures in model["jobs"].items()
    ]


def _benchmark(
    found: dict[str, Any],
    model: str,
    weights: int,
    job: str,
    figures: dict[str, Any],
    commit: str,
) -> Benchmark:
    setting = {name: figures[name] for name in _SIZES if name in figures} | {
        "weights": weights,
        "dtype": found["dtype"],
        "repeats": len(figures["seconds"]),
        "tokens_per_second": round(figures["tokens_per_second"]),
        "peak_gib": round(figures["peak_gib"], 1),
        "matmul_tflops": round(found["matmul_tflops"], 1),
        "torch": found["torch"],
        "transformers": found["transformers"],
    }
    return Benchmark(
        benchmark=f"gpu_{model}_{job}",
        setting=setting,
        ours=Timing(seconds=statistics.median(figures["seconds"])),
        peer=None,
        ratio=None,
        ceiling_share=figures["share_of_matmul"],
        machine=found["device"],
        commit=commit,
    )


def main() -> None:
    """Convert the file that was named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path)
    parser.add_argument("--commit", help="what was measured, where the file does not say")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    given = parser.parse_args()
    for path in convert(given.measured, given.commit, given.folder):
        print(f"written: {path}")


if __name__ == "__main__":
    main()
