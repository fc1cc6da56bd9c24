"""``llmrec items``: semantic IDs for the items of a task."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.terminal import JsonOption, print_json, print_table, progress

app = typer.Typer(rich_markup_mode=None, help="Give items semantic IDs.")

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, e.g. balance=none, rqvae.training.epochs=50."),
]


@app.callback()
def items() -> None:
    """Give items semantic IDs."""


@app.command()
def tokenize(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="A task; codes are fitted on its training part.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    encoder: Annotated[
        str, typer.Option(help="Text encoder: tfidf, tfidf:128, minilm, a directory, a hub name.")
    ] = "tfidf",
    text: Annotated[str, typer.Option(help="What is embedded: title or profile.")] = "profile",
    vectors: Annotated[
        Path | None, typer.Option(help="Vectors saved by TextVectors instead of an encoder's.")
    ] = None,
    behaviour: Annotated[
        float,
        typer.Option(
            min=0, help="Weight of which items follow one another in training, beside vectors."
        ),
    ] = 0.0,
    override: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit semantic IDs for the items of TASK; writes them with a quality report into OUTPUT."""
    from llmrec.recommenders.onerec.tokenizer.report import write_semantic_id_report
    from llmrec.recommenders.onerec.tokenizer.semantic_ids import MANIFEST
    from llmrec.storage import require_place, write_json

    require_place(output, MANIFEST)
    ids, quality, titles, facts = _tokenized(
        task, encoder, text, vectors, behaviour, override or []
    )
    ids.save(output, titles)
    write_json(output / "quality.json", quality)
    page = write_semantic_id_report(
        quality, output / "report.html", title=f"Semantic IDs of {facts['data set']}", facts=facts
    )
    if as_json:
        quality["levels"] = [
            {name: value for name, value in level.items() if name != "loads"}
            for level in quality["levels"]
        ]
        print_json({"folder": str(output), "report": str(page), "quality": quality})
        return
    _print_quality(quality)
    print(f"semantic IDs: {output}\nreport: {page}")


def _tokenized(
    task: str,
    encoder: str,
    text: str,
    vectors: Path | None,
    behaviour: float,
    changes: list[str],
) -> tuple[Any, dict[str, Any], Any, dict[str, object]]:
    """IDs, quality, titles, and what is told of them."""
    from llmrec.data.named import cache_home, load_dataset
    from llmrec.errors import ConfigError
    from llmrec.evaluation.tasks import load_task
    from llmrec.recommenders.item_texts import embed_items, item_texts
    from llmrec.recommenders.onerec.tokenizer.behaviour import with_behaviour
    from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids
    from llmrec.recommenders.onerec.tokenizer.quality import quality_report
    from llmrec.retrieval.vectors import TextVectors

    if text not in ("title", "profile"):
        raise ConfigError(f"--text is {text!r}; write title or profile.")
    config = _config(changes)
    loaded = load_task(task)
    progress(f"reading {loaded.dataset}")
    split = loaded.split(load_dataset(loaded.dataset))
    catalog = split.dataset.catalog
    if vectors is None:
        progress(f"embedding {len(catalog)} items")
        cache = cache_home() / "text-vectors"
        table = embed_items(item_texts(catalog, text), catalog.vocabulary, encoder, cache)
    else:
        table = TextVectors.load(vectors)
    if behaviour:
        table = with_behaviour(table, split.train_histories(), behaviour)
    ids = fit_semantic_ids(table, split.train_histories(), config, progress=progress)
    facts: dict[str, object] = {
        "data set": loaded.dataset,
        "task": loaded.name,
        "split": split.hash,
        "encoder": table.encoder,
        "text": text if vectors is None else f"vectors given in {vectors.name}",
        "behaviour": behaviour,
        "code space": ids.space,
        "fingerprint": ids.fingerprint,
    }
    shown = ("method", "balance", "collisions", "keeper", "seed")
    facts |= {name: getattr(config, name) for name in shown}
    return ids, quality_report(ids, table), catalog.titles, facts


def _config(changes: list[str]) -> Any:
    """The settings with ``name=value`` changes; values are YAML.

    Raises:
        ConfigError: A change has no value, or a name or value is not one of the tokeniser's.
    """
    import yaml

    from llmrec.errors import ConfigError
    from llmrec.recommenders.onerec.tokenizer.config import TokenizerConfig
    from llmrec.validation import validated

    settings: dict[str, Any] = TokenizerConfig().model_dump()
    for change in changes:
        name, found, value = change.partition("=")
        if not found:
            raise ConfigError(f"--set {change!r} has no value; write name=value.")
        *folders, last = name.split(".")
        place = settings
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {name!r}: {folder!r} has no settings inside.")
        try:
            place[last] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change!r}: {value!r} is not a value.") from None
    return validated(TokenizerConfig, settings, "the tokeniser's settings")


def _print_quality(quality: dict[str, Any]) -> None:
    print_table(
        ("level", "used", "of", "perplexity", "smallest", "largest"),
        [
            (n, one["used"], one["codes"], round(one["perplexity"], 1), one["smallest"],
             one["largest"])
            for n, one in enumerate(quality["levels"], 1)
        ],
    )  # fmt: skip
    fit = quality["fit"]
    print(
        f"items that share an ID: {fit['collisions_before']} before the rule, "
        f"{quality['collisions']} after it, of {quality['items']}"
    )
