"""Training a reward model on logged sessions, and what it is worth on users it has not seen.

Users, not sessions, are divided: the figures are those of histories nobody has trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from llmrec.data.histories import Histories
from llmrec.data.splits import Split
from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.recommenders.onerec.alignment.config import RewardConfig, RewardSettings
from llmrec.recommenders.onerec.alignment.feedback import (
    FeedbackRows,
    item_labels,
    session_labels,
    single_items,
    users_of,
)
from llmrec.recommenders.onerec.alignment.reward import RewardModel
from llmrec.recommenders.onerec.alignment.reward_forms import (
    loaded_reward_model,
    make_reward_model,
)
from llmrec.recommenders.onerec.alignment.tower_figures import tower_figures
from llmrec.recommenders.onerec.alignment.versions import weights_version
from llmrec.recommenders.onerec.generator.sessions import SessionSpans, session_spans
from llmrec.retrieval.vectors import TextVectors
from llmrec.storage import atomic_file, read_json, write_json
from llmrec.training.seeds import seed_everything
from llmrec.training.trainer import Trainer

_HELD_OUT = 5  # every fifth user
_WEIGHTS, _ABOUT = "reward.safetensors", "reward.json"


@dataclass(frozen=True)
class Judged:
    """A trained reward model and its figures.

    Attributes:
        model: In evaluation mode, where the training left it.
        figures: Per tower on held-out users, see
            :func:`~llmrec.recommenders.onerec.alignment.tower_figures.tower_figures`.
        log: Rows of the training loop.
    """

    model: RewardModel
    figures: Mapping[str, Mapping[str, float]]
    log: Sequence[Mapping[str, Any]]

    def save(self, folder: str | Path, about: Mapping[str, Any]) -> None:
        """Write weights and figures; ``about`` says what they were made from."""
        folder = Path(folder)
        weights = {name: value.cpu() for name, value in self.model.state_dict().items()}
        with atomic_file(folder / _WEIGHTS) as temporary:
            save_file(weights, temporary)
        told = {"about": about, "config": self.model.config.model_dump(mode="json")}
        written = {**told, "figures": self.figures, "log": list(self.log)}
        write_json(folder / _ABOUT, written | {"version": weights_version(self.model)})

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether :meth:`save` has written to the folder."""
        return (Path(folder) / _ABOUT).is_file()

    @classmethod
    def load(cls, folder: str | Path, about: Mapping[str, Any]) -> "Judged | None":
        """Read what :meth:`save` wrote, or None where there is nothing yet.

        Raises:
            ArtifactError: It was made from something else, or its weights are not those it names.
        """
        folder = Path(folder)
        if not cls.is_in(folder):
            return None
        told = read_json(folder / _ABOUT)
        if told["about"] != about:
            unlike = sorted(n for n in about if told["about"].get(n) != about[n])
            raise ArtifactError(
                f"the reward model in {folder} was made from something else (unlike: "
                f"{', '.join(unlike)}); use the same settings again, or align without resume."
            )
        weights = load_file(folder / _WEIGHTS)
        model = loaded_reward_model(RewardConfig(**told["config"]), weights)
        if weights_version(model) != told["version"]:
            raise ArtifactError(
                f"the weights of the reward model in {folder} are not those it names; remove the "
                "folder to train it again."
            )
        return cls(model, told["figures"], told["log"])


def train_reward_model(
    split: Split,
    settings: RewardSettings,
    users: Literal["all", "even", "odd"] = "all",
    vectors: TextVectors | None = None,
) -> Judged:
    """Learn what users make of sessions.

    Args:
        split: The training part of it is read.
        settings: Towers, size and training; ``metric`` is set to the mean AUC of the towers.
        users: Learn from all users, or from every second one: two judges that share no user.
        vectors: Content of the items, for the form ``items``.

    Raises:
        ConfigError: The form ``items`` has no vectors.
        DataError: A column is missing, a label is constant among the users that are learnt from or
            among those held out, there is no session, or the vectors are of other items.
    """
    train, training = split.train_histories(), settings.training
    known = {"vocabulary": train.vocabulary.fingerprint}
    config = RewardConfig.model_validate(settings.architecture() | known)
    contents = None
    if config.form == "items":
        if vectors is None:
            raise ConfigError(
                "a reward model of form=items reads the content of items: give vectors, as those "
                "of embed_items, or use form=lists."
            )
        vectors.require(train.vocabulary)
        rows = torch.from_numpy(vectors.values)
        contents = functional.pad(rows, (0, 0, 1, 0))  # code 0 is padding
        config = config.model_copy(update={"content": rows.shape[1]})
    spans, labels = _lessons(split, train, settings)
    owner = users_of(train, spans)
    held_out = owner % _HELD_OUT == 0
    # divided before the held-out users are taken out, so that every half has some of them
    taken = np.ones(owner.size, dtype=np.bool_)
    if users != "all":
        taken = (owner // _HELD_OUT) % 2 == (users == "odd")
    learnt = _rows(spans, labels, taken & ~held_out)
    judged = _rows(spans, labels, held_out)
    _require_both_labels(config.towers, {"learnt from": learnt[1], "held out": judged[1]})
    seed_everything(training.seed)
    rates = np.nanmean(learnt[1].reshape(-1, len(config.towers)), axis=0).tolist()
    model = make_reward_model(config, len(train.vocabulary), rates, contents)
    source, rest = (FeedbackRows(train, *rows, config.history) for rows in (learnt, judged))

    def validate() -> Mapping[str, float]:
        figures = tower_figures(model, rest)
        return {"auc": float(np.mean([each["auc"] for each in figures.values()]))}

    training = training.model_copy(update={"metric": "auc"})
    log = Trainer(training, model_settings=config.model_dump(mode="json")).fit(
        model, source, validate
    )
    model.eval()
    return Judged(model, tower_figures(model, rest), log)


def _lessons(
    split: Split, train: Histories, settings: RewardSettings
) -> tuple[SessionSpans, npt.NDArray[np.float32]]:
    """What is learnt from: sessions and their labels, or also every item as a session."""
    whole = session_spans(train, settings.sessions, settings.most)
    if settings.form == "items":
        return whole, item_labels(split, whole, settings.towers)
    spans = _joined(whole, single_items(whole))
    return spans, session_labels(split, spans, settings.towers)


def _require_both_labels(
    towers: Sequence[str], parts: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    """Every tower needs something to tell apart, among both groups of users."""
    for part, labels in parts.items():
        known = labels.reshape(-1, len(towers))
        known = known[~np.isnan(known).any(1)]
        for tower, name in enumerate(towers):
            if not known.size or known[:, tower].min() == known[:, tower].max():
                raise DataError(
                    f"tower {name!r}: all {len(known)} labels of the users that are {part} are "
                    "alike, so it cannot be learnt and judged; use another rule, more users, or "
                    "leave the tower out."
                )


def _joined(left: SessionSpans, right: SessionSpans) -> SessionSpans:
    return SessionSpans(*(np.concatenate(pair) for pair in zip(left, right, strict=True)))


def _rows(
    spans: SessionSpans,
    labels: npt.NDArray[np.float32],
    kept: npt.NDArray[np.bool_],
) -> tuple[SessionSpans, npt.NDArray[np.float32]]:
    return SessionSpans(*(values[kept] for values in spans)), labels[kept]
