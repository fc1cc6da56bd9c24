"""Write the generated tables of README.md and docs from the committed results.

python eval/readme.py           # rewrite the tables in place
python eval/readme.py --check   # exit 1 if they differ from eval/results
"""

import argparse
import sys
from pathlib import Path

from llmrec.evaluation.ablation import ablation_table, load_ablations
from llmrec.evaluation.results import Benchmark, load_benchmarks, results_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "eval" / "results"
COLUMNS = ["ndcg@10", "hit_rate@10"]
PAGES = ("README.md", "docs/sra_cl.md")
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
    benchmarks, ablations = load_benchmarks(RESULTS), load_ablations(RESULTS)
    of_sra_cl = [each for each in ablations if each.name.endswith("sra-cl")]
    steps = [each for each in benchmarks if each.benchmark.startswith("sra_cl_step")]
    tables = {
        "results": results_table(RESULTS, metrics=COLUMNS),
        "benchmarks": benchmark_table(benchmarks),
        "sra-cl-results": "\n\n".join(
            results_table(RESULTS, task=task, metrics=COLUMNS) for task in SRA_CL_TASKS
        ),
        "sra-cl-fast-mode": benchmark_table(steps),
        "sra-cl-ablations": "\n\n".join(map(ablation_table, of_sra_cl)),
    }
    for name, table in tables.items():
        if f"<!-- {name}:begin -->" in text:
            text = replace(text, name, table)
    return text


def benchmark_table(benchmarks: list[Benchmark]) -> str:
    """One row per measured job, ratios with their range over repetitions."""
    lines = [
        "| job | llmrec | peer | times faster, or quality in equal time |",
        "|---|---|---|---|",
    ]
    for each in benchmarks:
        peer, ratio = "-", "-"
        if each.peer is not None:
            peer = f"{each.peer.name} {each.peer.version}: {seconds(each.peer.seconds)}"
        if each.ratio is not None:
            ratio = f"{each.ratio.median:.1f} ({each.ratio.min:.1f} to {each.ratio.max:.1f})"
        if isinstance(each.setting, dict) and "peer_ndcg@10" in each.setting:
            values = each.setting["ours_ndcg@10"], each.setting["peer_ndcg@10"]
            ratio = "ndcg@10 {:.4f} against {:.4f}".format(*values)
        ours = seconds(each.ours.seconds)
        lines.append(f"| {each.benchmark.replace('_', ' ')} | {ours} | {peer} | {ratio} |")
    return "\n".join(lines)


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def replace(text: str, name: str, content: str) -> str:
    """Put ``content`` between the two markers called ``name``."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    main()
