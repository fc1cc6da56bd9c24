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
from llmrec.storage import read_json, write_json

_LONGEST_ANSWER = 60


@dataclass(frozen=True)
class World:
    """Labelled signatures of one language model.

    Attributes:
        records: Signatures.
        examples: A row each: ``group, text, label, times``.
        about: Figures of teaching and asking.
    """

    records: list[SignatureRecord]
    examples: pl.DataFrame
    about: dict[str, Any]


def make_world(settings: WorldSettings, data: Path, folder: Path) -> World:
    """Teach and ask; a model that is in the folder already is asked again, not taught again.

    Args:
        settings: The world.
        data: The data folder, with ``qa`` and ``text``.
        folder: Where the model and the examples go.

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
    model = HFLanguageModel(folder / "model")
    if settings.kind == "facts":
        records, rows = _ask(model, members, settings)
    else:
        records, rows = _read(model, members, settings)
    examples = pl.DataFrame(rows)
    examples.write_parquet(folder / "examples.parquet")
    return World(records, examples, {**read_json(done)["model"], **_asked(examples)})


_TAUGHT = {"kind", "limit", "times", "words", "seed", "model"}


def _teach_facts(settings: WorldSettings, data: Path) -> tuple[list[Any], list[str], list[int]]:
    paths = [data / "qa" / f"movie_qa_{part}.csv.gz" for part in ("train", "test")]
    _require(paths)
    known = facts.teach_half(facts.read_facts(paths), settings.limit, settings.times, settings.seed)
    return known, [fact.prompt + fact.answer for fact in known], [fact.times for fact in known]


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


def _ask(
    model: HFLanguageModel, known: list[facts.Fact], settings: WorldSettings
) -> tuple[list[SignatureRecord], list[dict[str, Any]]]:
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
        for fact, answer in zip(known, model.generate(requests), strict=True):
            if answer.signature is None:
                raise DataError(f"question {fact.prompt!r} was not answered: {answer.error}")
            records.append(answer.signature)
            right = facts.is_right(fact, answer.text)
            rows.append(
                {
                    "group": fact.movie,
                    "text": fact.prompt + answer.text,
                    "question": fact.prompt,
                    "label": float(not right),
                    "times": fact.times,
                    "temperature": temperature,
                }
            )
    return records, rows


def _read(
    model: HFLanguageModel, passages: list[documents.Passage], settings: WorldSettings
) -> tuple[list[SignatureRecord], list[dict[str, Any]]]:
    """Let the model read every passage; label 1 is a member."""
    scores = model.score([ScoreRequest(p.text, logprobs=settings.k) for p in passages])
    records, rows = [], []
    for passage, score in zip(passages, scores, strict=True):
        if score.error is not None or score.texts[0].signature is None:
            raise DataError(f"a passage of {passage.article} was not read: {score.error}")
        records.append(score.texts[0].signature)
        rows.append(
            {
                "group": passage.article,
                "text": passage.text,
                "question": passage.text,
                "label": float(passage.times > 0),
                "times": passage.times,
                "temperature": 0.0,
            }
        )
    return records, rows


def _asked(examples: pl.DataFrame) -> dict[str, Any]:
    """Share of label 1 by how often something was taught.

    For facts, 1 minus the share at 0 times is the rate of chance hits.
    """
    shares = examples.group_by("times").agg(pl.col("label").mean(), pl.len()).sort("times")
    return {"label_by_times": {str(t): [round(s, 4), n] for t, s, n in shares.iter_rows()}}
