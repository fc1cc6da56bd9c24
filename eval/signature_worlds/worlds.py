"""Make a world: teach a model, ask it, keep signatures with exact labels.

A world's folder holds the model, ``examples.parquet`` (one row per record: group, text, label, how
often it was taught) and ``teaching.json``. Signatures are captured through ``HFLanguageModel``, as
for any other model; the same folder gives the same signatures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import documents
import facts
import polars as pl
from settings import WorldSettings
from teaching import teach

from llmrec.errors import DataError
from llmrec.inference.hf import HFLanguageModel
from llmrec.inference.requests import Decoding, GenerateRequest, ScoreRequest
from llmrec.inference.signature import SignatureRecord
from llmrec.signatures.records import SignatureSet
from llmrec.signatures.store import SignatureStore
from llmrec.storage import read_json, write_json

_LONGEST_ANSWER = 60


@dataclass(frozen=True)
class World:
    """Labelled signatures of one language model.

    Attributes:
        signatures: Records with label, group, ``times`` and ``question``.
        about: Figures of teaching and asking.
    """

    signatures: SignatureSet
    about: dict[str, Any]


def make_world(settings: WorldSettings, data: Path, folder: Path) -> World:
    """Teach and ask; what is in the folder already is not done again.

    Args:
        settings: The world.
        data: The data folder, with ``qa`` and ``text``.
        folder: Where the model and the signatures go.

    Raises:
        DataError: The data is missing, or the folder holds a world of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taught = _teach_facts if settings.kind == "facts" else _teach_documents
    members, texts, times = taught(settings, data)
    wanted = settings.model_dump(mode="json", include=_TAUGHT)
    done = folder / "teaching.json"
    if done.is_file():
        if read_json(done)["settings"] != wanted:
            raise DataError(f"{folder} holds a world of other settings; choose another folder.")
    else:
        figures = teach(texts, times, settings.model, folder / "model")
        write_json(done, {"settings": wanted, "model": figures})
    asked = SignatureStore(folder / f"signatures-k{settings.k}")
    if not asked.shards:
        model = HFLanguageModel(folder / "model", dtype="float32")
        ask = _ask if settings.kind == "facts" else _read
        asked.append(ask(model, members, settings))
    found = asked.read()
    about = read_json(done)["model"]
    if settings.kind == "facts":
        about |= _asked(found.examples)
    return World(found, about)


_TAUGHT = {"kind", "limit", "times", "words", "sentences", "seed", "model"}


def _teach_facts(settings: WorldSettings, data: Path) -> tuple[list[Any], list[str], list[int]]:
    paths = [data / "qa" / f"movie_qa_{part}.csv.gz" for part in ("train", "test")]
    _require(paths)
    known = facts.teach_half(facts.read_facts(paths), settings.limit, settings.times, settings.seed)
    return known, *facts.taught_texts(known, settings.sentences, settings.seed)


def _teach_documents(settings: WorldSettings, data: Path) -> tuple[list[Any], list[str], list[int]]:
    paths = [data / "text" / f"wikitext-2_{part}.txt.gz" for part in ("valid", "test")]
    _require(paths)
    passages = documents.without_near_duplicates(
        documents.teach_half(
            documents.read_passages(paths, settings.words),
            settings.limit,
            settings.times,
            settings.seed,
        )
    )
    return passages, [p.text for p in passages], [p.times for p in passages]


def _require(paths: list[Path]) -> None:
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} is missing; set LLMREC_DATA_HOME to the data folder.")


def _ask(model: HFLanguageModel, known: list[facts.Fact], settings: WorldSettings) -> SignatureSet:
    """Ask every question at every temperature; label 1 is a wrong answer."""
    records, rows = [], []
    for temperature in settings.temperatures:
        seeds = [None if temperature == 0 else settings.seed + place for place in range(len(known))]
        requests = [
            GenerateRequest(
                fact.prompt,
                Decoding(max_tokens=_LONGEST_ANSWER, temperature=temperature, seed=seed),
                logprobs=settings.k,
            )
            for fact, seed in zip(known, seeds, strict=True)
        ]
        for place, answer in enumerate(model.generate(requests)):
            fact = known[place]
            if answer.signature is None:
                raise DataError(f"question {fact.prompt!r} was not answered: {answer.error}")
            records.append(answer.signature)
            right = facts.is_right(fact, answer.text)
            rows.append(
                (f"{place}@{temperature:g}", float(not right), fact.movie, fact.prompt, fact.times)
            )
    return _set_of(records, rows)


def _read(
    model: HFLanguageModel, passages: list[documents.Passage], settings: WorldSettings
) -> SignatureSet:
    """Let the model read every passage; label 1 is a member."""
    scores = model.score(
        [ScoreRequest(p.text, logprobs=settings.k, over_long="keep_end") for p in passages]
    )
    records, rows = [], []
    for place, (passage, score) in enumerate(zip(passages, scores, strict=True)):
        if score.error is not None or score.texts[0].signature is None:
            raise DataError(f"a passage of {passage.article} was not read: {score.error}")
        records.append(score.texts[0].signature)
        member = float(passage.times > 0)
        rows.append((str(place), member, passage.article, passage.text, passage.times))
    return _set_of(records, rows)


def _set_of(records: list[SignatureRecord], rows: list[tuple[Any, ...]]) -> SignatureSet:
    ids, labels, groups, questions, times = (list(column) for column in zip(*rows, strict=True))
    return SignatureSet.of(records, labels, groups, ids, question=questions, times=times)


def _asked(examples: pl.DataFrame) -> dict[str, Any]:
    """Share of wrong answers by how often a fact was taught.

    1 minus the share at 0 times is the rate of chance hits.
    """
    shares = examples.group_by("times").agg(pl.col("label").mean(), pl.len()).sort("times")
    return {f"wrong_taught_{times}": round(share, 4) for times, share, _ in shares.iter_rows()}
