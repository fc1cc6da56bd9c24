"""Judge LOS-Net on worlds, beside all baselines and a control that reads the text alone."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from settings import WorldSettings
from transfer import transfer_figures
from worlds import World

from llmrec.runs.environment import hardware, source_commit
from llmrec.signatures.comparison import (
    Comparison,
    SignatureResult,
    compare_methods,
    write_signature_result,
)
from llmrec.signatures.splits import GroupSplit

_LABELS = 200
_RISKS = {"facts": "the answer is wrong", "documents": "the text was trained on"}
_DATA = {"facts": "movie_qa", "documents": "wikitext-2"}
_GROUPS = {"facts": "movie", "documents": "article"}


def judge_base(
    world: World, settings: WorldSettings, split: GroupSplit, arguments: argparse.Namespace
) -> str:
    """Compare all methods on a world; write the result and return a line about it."""
    own = {} if arguments.baselines is None else {"baselines": arguments.baselines}
    found = compare_methods(
        world.signatures,
        split,
        los_net=settings.detector,
        task=settings.task,
        seeds=settings.seeds,
        baseline_seeds=settings.baseline_seeds,
        training=settings.baselines,
        blind="question",
        group=_GROUPS[settings.kind],
        shuffled=not arguments.select,
        **own,
    )
    name = f"world-{settings.title}"
    result = _result(found, name, world, settings, arguments)
    write_signature_result(result, arguments.output)
    return _line(result)


def judge_transfer(
    worlds: Mapping[str, World],
    settings: Mapping[str, WorldSettings],
    split: GroupSplit,
    arguments: argparse.Namespace,
) -> Iterator[str]:
    """Train LOS-Net on every world and judge it there and on all others.

    Args:
        worlds: By name.
        settings: Of every world.
        split: Of the groups of all worlds, so that no world knows what another one is tested on.
        arguments: Of the command line.
    """
    for source, world in worlds.items():
        if arguments.source not in (None, source):
            continue
        own = settings[source]
        found = compare_methods(
            world.signatures,
            split,
            los_net=own.detector,
            task=own.task,
            baselines=["mean_logprob", "length"],
            seeds=own.transfer_seeds,
            group=_GROUPS[own.kind],
            shuffled=False,
        )
        moved = [
            transfer_figures(
                source,
                target,
                found.scores["los_net"].models,
                other.signatures,
                split,
                _LABELS,
                single="mean_logprob",
            )
            for target, other in worlds.items()
            if target != source
        ]
        name = f"world-{own.title}-from-{source}"
        result = _result(found, name, world, own, arguments, transfer=tuple(moved))
        write_signature_result(result, arguments.output)
        yield _line(result)
        for one in moved:
            yield (
                f"  to {one.target}: {one.zero_shot.mean:.4f}, tuned {one.tuned.mean:.4f}, those "
                f"labels alone {one.scratch.mean:.4f}, {one.single.mean:.4f}, tuned and weighed "
                f"less the last {one.adapted_less_single}"
            )


def _result(
    found: Comparison,
    name: str,
    world: World,
    settings: WorldSettings,
    arguments: argparse.Namespace,
    **more: Any,
) -> SignatureResult:
    values = settings.model.model_dump(mode="json")
    model = {f"model_{n}": values[n] for n in ("hidden_size", "layers", "vocab_size", "seed")}
    return found.result(
        name,
        _DATA[settings.kind],
        _RISKS[settings.kind],
        about={"k": settings.k, **model, **world.about},
        recipe=str(arguments.settings),
        commit=arguments.commit or source_commit() or "uncommitted",
        test_runs=0 if arguments.select else arguments.test_runs,
        hardware=hardware(),
        **more,
    )


def _line(result: SignatureResult) -> str:
    shown = {
        name: round(figures.auc.mean, 4)
        for name, figures in sorted(result.methods.items(), key=lambda one: -one[1].auc.mean)
    }
    gap = result.best_single
    against = "" if gap is None else f", {gap.auc:+.4f} to {gap.baseline} ({gap.share_of_gap:.0%})"
    return f"{result.task}: {shown}{against}, {result.wall_seconds:.0f} s"
