"""Every baseline by its name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmrec.errors import ArtifactError, ConfigError, nearest_name
from llmrec.signatures.baselines.atp import AtpPerceptron, atp_transformer
from llmrec.signatures.baselines.base import Baseline, read_manifest
from llmrec.signatures.baselines.boosting import Boosting
from llmrec.signatures.baselines.logistic import BagOfWords, Logistic
from llmrec.signatures.baselines.scores import SCORES
from llmrec.signatures.baselines.single import SingleScore
from llmrec.signatures.los_net.config import Task
from llmrec.signatures.los_net.model import LOSNet

SINGLE_SCORES: tuple[str, ...] = tuple(name for name in SCORES if name != "length")
"""Scores that need no training beyond a sigmoid."""

CONTROLS: tuple[str, ...] = ("length", "bag_of_words")
"""What must not do well: it would show that labels leak."""

_LEARNT: Mapping[str, Callable[..., Baseline | LOSNet]] = {
    "logistic": Logistic,
    "boosting": Boosting,
    "atp_transformer": atp_transformer,
    "atp_mlp": AtpPerceptron,
    "bag_of_words": BagOfWords,
}

BASELINES: tuple[str, ...] = (*SCORES, *_LEARNT)
"""All names: single scores, ``length``, and what is learnt."""


def make_baseline(
    name: str,
    task: Task = "correctness",
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
) -> Baseline | LOSNet:
    """A baseline that is ready to be fitted.

    Args:
        name: One of :data:`BASELINES`.
        task: What risk means: the answer is wrong, or the text was trained on.
        seed: Of everything that is drawn.
        training: Changed training settings of ``atp_transformer`` and ``atp_mlp``.

    Raises:
        ConfigError: There is no such baseline.

    Example:
        >>> from llmrec.testing.signatures import labelled_signatures
        >>> records, labels = labelled_signatures(80, seed=0)
        >>> risk = make_baseline("mean_logprob").fit(records, labels).predict_risk(records)
        >>> risk.shape
        (80,)
    """
    require_baseline(name)
    if name in SCORES:
        return SingleScore(name, task, seed)
    more = {"training": training} if name.startswith("atp_") else {}
    return _LEARNT[name](task=task, seed=seed, **more)


def require_baseline(name: str) -> None:
    """Refuse a name that no baseline has.

    Raises:
        ConfigError: There is no such baseline.
    """
    if name not in BASELINES:
        raise ConfigError(f"unknown baseline {name!r}{nearest_name(name, BASELINES)}.")


def uses_seed(name: str) -> bool:
    """Whether another seed gives another model.

    >>> uses_seed("boosting"), uses_seed("zlib")
    (True, False)
    """
    return name in ("boosting", "atp_transformer", "atp_mlp")


def load_baseline(directory: str | Path) -> Baseline:
    """Read what a baseline's ``save_pretrained`` wrote.

    Raises:
        ArtifactError: The directory is missing, incomplete, changed, or of another kind.
    """
    manifest, arrays = read_manifest(directory)
    try:
        made = make_baseline(manifest["model"], manifest["task"], int(manifest["seed"]))
        assert isinstance(made, Baseline)
        made.fingerprint_policy = manifest["fingerprint_policy"]
        return made._load(manifest, arrays)
    except (KeyError, TypeError, ConfigError) as error:
        raise ArtifactError(f"{directory} holds a baseline that is not known: {error}") from None
