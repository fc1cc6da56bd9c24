"""Write the generated tables of README.md and docs from the committed results.

python eval/readme.py           # rewrite the tables in place
python eval/readme.py --check   # exit 1 if they differ from eval/results
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import decision_tables
import yaml
from tables import (
    OVERVIEW,
    benchmark_table,
    is_of_others,
    overview,
    stream_table,
    tiny_lm_table,
)

from llmrec.evaluation.ablation import ablation_table, load_ablations
from llmrec.evaluation.results import Result, load_benchmarks, load_results, results_table
from llmrec.evaluation.session_results import (
    curve_table,
    load_session_results,
    session_table,
    variant_table,
)
from llmrec.storage import read_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results"
BENCHMARK_NAMES = ROOT / "eval" / "benchmarks" / "names.yaml"
COLUMNS = [OVERVIEW, "hit_rate@10"]
PAIR_COLUMNS = ["auc", "uauc", "logloss", "ece"]
PAGES = (
    "README.md",
    "docs/sra_cl.md",
    "docs/results.md",
    "docs/llm_ranker.md",
    "docs/language_models.md",
    "docs/risk_decisions.md",
    "docs/batch_inference.md",
    "docs/onerec.md",
    "docs/reclora.md",
)
RANKER_TASKS = ("ml-latest-small", "ml-1m-collm")
INFERENCE = ("hf_", "vllm_", "gpu_", "signature_bytes", "cache_hit")
SRA_CL_TASKS = ("amazon-beauty-unfiltered", "amazon-beauty", "amazon-office-unfiltered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page in PAGES:
        path = ROOT / page
        written = path.read_text(encoding="utf-8")
        expected = with_tables(written)
        if check and written != expected:
            sys.exit(f"{page} differs; run python eval/readme.py")
        if not check:
            path.write_text(expected, encoding="utf-8")


def with_tables(text: str) -> str:
    """The text with its generated parts brought up to date."""
    results, benchmarks, ablations = (
        load(RESULTS) for load in (load_results, load_benchmarks, load_ablations)
    )
    names = yaml.safe_load(BENCHMARK_NAMES.read_text(encoding="utf-8"))
    of_sra_cl = [each for each in ablations if each.name.endswith("sra-cl")]
    steps = [each for each in benchmarks if each.benchmark.startswith("sra_cl_step")]
    compared = [each for each in benchmarks if is_of_others(each)]
    tasks = {each.task: columns_of(each) for each in results}
    pairs = [task for task, columns in tasks.items() if columns is PAIR_COLUMNS]
    tables = {
        "overview": overview(results),
        "pairs": results_tables({task: PAIR_COLUMNS for task in pairs}),
        "all-results": results_tables(tasks),
        "compared-benchmarks": benchmark_table(compared, names),
        "all-benchmarks": benchmark_table(benchmarks, names),
        "sra-cl-results": results_tables({task: COLUMNS for task in SRA_CL_TASKS}),
        "sra-cl-fast-mode": benchmark_table(steps, names),
        "sra-cl-profiles": "\n\n".join(
            ablation_table(each) for each in ablations if each.name.endswith("-profiles")
        ),
        "llm-ranker-results": results_tables(
            {task: tasks[task] for task in RANKER_TASKS if task in tasks}
        ),
        "inference-benchmarks": benchmark_table(
            [each for each in benchmarks if each.benchmark.startswith(INFERENCE)], names
        ),
        "tiny-lm-figures": tiny_lm_table(benchmarks),
        "sra-cl-ablations": "\n\n".join(map(ablation_table, of_sra_cl)),
    }
    if "<!-- conformal" in text:
        conformal = decision_tables.load_conformal()
        tables["conformal-simulated"] = decision_tables.simulated_table(conformal)
        tables["conformal-real"] = decision_tables.real_table(conformal)
        tables["conformal-below"] = decision_tables.below_table(conformal)
        tables["conformal-starts"] = decision_tables.starts_table(decision_tables.load_starts())
        tables["drift-alarm"] = decision_tables.drift_table(decision_tables.load_drift())
    for each in load_session_results(RESULTS):
        tables[f"sessions-{each.name}"] = session_table(each)
        tables[f"sessions-{each.name}-lists"] = curve_table(each)
        tables[f"sessions-{each.name}-variants"] = variant_table(each)
    for each in ablations:
        tables[f"ablation-{each.name}"] = ablation_table(each)
    for path in sorted((RESULTS / "streams").glob("*.json")):
        tables[f"stream-{path.stem}"] = stream_table(read_json(path))
    for name, table in tables.items():
        if f"<!-- {name}:begin -->" in text:
            text = replace(text, name, table)
    return text


def columns_of(result: Result) -> list[str]:
    """The columns of a result's task: those of rankings, of judged pairs, or the protocol's own."""
    for columns in (COLUMNS, PAIR_COLUMNS):
        if set(columns) <= result.metrics.keys():
            return columns
    return list(result.protocol.metrics)


def results_tables(tasks: Mapping[str, Sequence[str]]) -> str:
    """One table for each task, with its columns."""
    return "\n\n".join(
        results_table(RESULTS, task=task, metrics=columns) for task, columns in tasks.items()
    )


def replace(text: str, name: str, content: str) -> str:
    """Put ``content`` between the two markers called ``name``."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    main()
