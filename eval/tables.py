"""Markdown tables made from the committed results.

Nothing here rounds, chooses or repairs a figure beyond what a table shows of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llmrec.evaluation.results import Benchmark, Result

OVERVIEW = "ndcg@10"
THIS_VERSION = "this version"


def overview(results: Sequence[Result]) -> str:
    """One row per model and one column per ranking task: the metric and half its interval."""
    ranked = [each for each in results if OVERVIEW in each.metrics]
    tasks = sorted({each.task for each in ranked})
    names = sorted({name_of(each) for each in ranked})
    cells = {(name_of(each), each.task): figure(each) for each in ranked}
    lines = [f"| {OVERVIEW} | {' | '.join(tasks)} |", f"|---|{'---|' * len(tasks)}"]
    for name in names:
        row = " | ".join(cells.get((name, task), "") for task in tasks)
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines)


def name_of(result: Result) -> str:
    return f"{result.model} {result.variant}".strip()


def figure(result: Result) -> str:
    """``0.0592 ± 0.0025``: the mean and half the width of its interval."""
    found = result.metrics[OVERVIEW]
    if found.ci95 is None:
        return f"{found.mean:.4f}"
    low, high = found.ci95
    return f"{found.mean:.4f} ± {(high - low) / 2:.4f}"


def benchmark_table(benchmarks: Sequence[Benchmark], names: Mapping[str, str]) -> str:
    """One row per measured job, ratios with their range over repetitions.

    Args:
        benchmarks: What was measured.
        names: What a benchmark is called in the table; without an entry its own name is.
    """
    lines = ["| job | llmrec | compared with | llmrec is |", "|---|---|---|---|"]
    for each in benchmarks:
        name = names.get(each.benchmark, each.benchmark.replace("_", " "))
        cells = (name, duration(each.ours.seconds), peer_of(each), verdict(each))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tiny_lm_table(benchmarks: Sequence[Benchmark]) -> str:
    """One row per embedded language model that was made: its time, perplexities, and answers."""
    lines = [
        "| data set | preset | time | perplexity | trigram | unigram | like: AUC (item alone) "
        "| choose: AUC (item alone) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in benchmarks:
        setting = each.setting
        if not each.benchmark.startswith("tiny_lm") or not isinstance(setting, dict):
            continue
        names = ("perplexity", "perplexity_trigram", "perplexity_unigram")
        answers = [
            f"{setting[f'{action}_auc']:.3f} ({setting[f'{action}_auc_item_average']:.3f})"
            if f"{action}_auc" in setting
            else ""
            for action in ("like", "choose")
        ]
        cells = [
            str(setting["dataset"]),
            str(setting["preset"]),
            f"{duration(each.ours.seconds)}, {setting['threads']} threads"
            + (", beside other work" if setting.get("beside_other_work") else ""),
            *(f"{setting[name]:.2f}" for name in names),
            *answers,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def peer_of(benchmark: Benchmark) -> str:
    """Name, version and time of the other; a part of this project has no version of its own."""
    peer = benchmark.peer
    if peer is None:
        return ""
    version = "" if peer.version in ("", THIS_VERSION) else f" ({peer.version})"
    return f"{peer.name}{version}: {duration(peer.seconds)}"


def verdict(benchmark: Benchmark) -> str:
    """How many times faster or slower, with the range, or both qualities after equal time."""
    setting = benchmark.setting
    if isinstance(setting, dict) and "peer_ndcg@10" in setting:
        ours, peers = float(setting["ours_ndcg@10"]), float(setting["peer_ndcg@10"])
        return f"at ndcg@10 {ours:.4f} against {peers:.4f}"
    if benchmark.ratio is None:
        return ""
    times = (benchmark.ratio.median, benchmark.ratio.min, benchmark.ratio.max)
    if round(times[0], 1) == 1:
        return f"as fast ({factor(times[1])} to {factor(times[2])})"
    word = "faster"
    if times[0] < 1:
        word, times = "slower", (1 / times[0], 1 / times[2], 1 / times[1])
    middle, least, most = map(factor, times)
    return f"{middle} times {word} ({least} to {most})"


def factor(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def is_of_others(benchmark: Benchmark) -> bool:
    """Whether it was compared with another library, not with another way of our own."""
    peer = benchmark.peer
    return peer is not None and not peer.version.startswith((THIS_VERSION, "torch"))


def duration(seconds: float) -> str:
    """Three digits in the unit that suits.

    >>> [duration(s) for s in (231.4, 4.77, 0.0454, 0.00219, 0.000031, 0.0)]
    ['231 s', '4.77 s', '45.4 ms', '2.19 ms', '31 µs', '0 s']
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return "0 s" if not seconds else f"{seconds / 1e-9:.3g} ns"


def stream_table(found: Mapping[str, Any]) -> str:
    """One row per way of keeping up with a stream, as ``eval/lifelong.py`` writes them."""
    slices = range(1, len(found["pairs"]) + 1)
    heads = ["", *(f"auc, slice {number}" for number in slices), "mean", "less no update"]
    heads += ["logloss", "less no update", "before the stream: auc, logloss", "seconds"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, way in found["ways"].items():
        auc, loss = way["auc"], way["logloss"]
        old = found["before_the_stream"].get(name)
        cells = [name, *(f"{value:.4f}" for value in auc["by_slice"]), f"{auc['mean']:.4f}"]
        cells += [_signed(auc["over_no_update"]), f"{loss['mean']:.4f}"]
        cells += [_signed(loss["over_no_update"])]
        cells += ["" if old is None else f"{old['auc']:.4f}, {old['logloss']:.4f}"]
        lines.append(f"| {' | '.join(cells)} | {way['seconds']:.0f} |")
    return "\n".join(lines)


def _signed(difference: Mapping[str, Any]) -> str:
    """``+0.0110 [+0.0043, +0.0186]``; nothing where there is no difference by definition."""
    low, high = difference["ci95"]
    if low == high == 0:
        return ""
    return f"{difference['mean']:+.4f} [{low:+.4f}, {high:+.4f}]"
