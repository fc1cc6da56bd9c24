r"""Losses over pairs of lists of which one is preferred.

With ``h = (log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))``, log-probabilities summed
over the codes of a list in float32:

=========  ====================================================================================
``dpo``    ``-log sigmoid(beta h)`` (arXiv 2305.18290, equation 7)
``ipo``    ``(h - 1 / (2 beta))^2`` with ``h`` a sum over codes (arXiv 2310.12036, equation 17)
``cdpo``   ``-(1 - eps) log sigmoid(beta h) - eps log sigmoid(-beta h)``
``rdpo``   ``(-(1 - eps) log sigmoid(beta h) + eps log sigmoid(-beta h)) / (1 - 2 eps)``
           (arXiv 2403.00409, equation 12)
``simpo``  ``-log sigmoid(beta (mean log pi(y_w) - mean log pi(y_l)) - gamma)`` with means over
           codes; no reference (arXiv 2405.14734, equation 6)
``cpo``    ``-log sigmoid(beta (log pi(y_w) - log pi(y_l))) - log pi(y_w)``; no reference
           (arXiv 2401.08417, equation 5)
=========  ====================================================================================

Each may have ``- alpha log pi(y_w) / codes of y_w`` beside it (``rpo_alpha``, arXiv 2404.19733,
equation 2; the name is TRL's), so that the preferred list becomes more likely.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from llmrec.errors import ConfigError, DataError
from llmrec.recommenders.onerec.alignment.config import LossType

_NEEDS_NO_REFERENCE = {"simpo", "cpo"}


class PairLogProbs(NamedTuple):
    """Log-probabilities of pairs, ``[pairs]`` float32 each.

    Attributes:
        chosen: Of the preferred lists under the model that is trained.
        rejected: Of the others.
        reference_chosen: Of the preferred lists under the frozen reference, or None.
        reference_rejected: Of the others, or None.
        chosen_codes: Codes of each preferred list.
        rejected_codes: Codes of each other list.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor | None
    reference_rejected: Tensor | None
    chosen_codes: Tensor
    rejected_codes: Tensor


def preference_losses(
    pairs: PairLogProbs,
    loss_type: LossType = "dpo",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    gamma: float = 0.5,
    rpo_alpha: float = 0.0,
) -> Tensor:
    """Loss of every pair.

    Args:
        pairs: Log-probabilities.
        loss_type: See the module.
        beta: Strength of the pull towards the reference, above 0.
        label_smoothing: ``eps`` of cdpo and rdpo: probability that a preference is wrong.
        gamma: Margin of simpo.
        rpo_alpha: Weight of the preferred list's mean loss per code, 0 or above.

    Returns:
        ``[pairs]`` float32.

    Raises:
        ConfigError: A number is out of range, or the loss is unknown.
        DataError: The loss needs a reference that the pairs lack, or sums over lists of different
            length.
    """
    _check(pairs, loss_type, beta, label_smoothing)
    losses = _preference(pairs, loss_type, beta, label_smoothing, gamma)
    if not rpo_alpha:
        return losses
    return losses - rpo_alpha * pairs.chosen.float() / pairs.chosen_codes


def _preference(
    pairs: PairLogProbs, loss_type: LossType, beta: float, label_smoothing: float, gamma: float
) -> Tensor:
    chosen, rejected = pairs.chosen.float(), pairs.rejected.float()
    if loss_type == "simpo":
        means = chosen / pairs.chosen_codes - rejected / pairs.rejected_codes
        return -functional.logsigmoid(beta * means - gamma)
    if loss_type == "cpo":
        return -functional.logsigmoid(beta * (chosen - rejected)) - chosen
    h = margins(pairs)
    if loss_type == "ipo":
        return (h - 1 / (2 * beta)).square()
    right, wrong = functional.logsigmoid(beta * h), functional.logsigmoid(-beta * h)
    if loss_type == "dpo":
        return -right
    if loss_type == "cdpo":
        return -(1 - label_smoothing) * right - label_smoothing * wrong
    mixed = -(1 - label_smoothing) * right + label_smoothing * wrong
    return mixed / (1 - 2 * label_smoothing)


def margins(pairs: PairLogProbs) -> Tensor:
    """``h`` of every pair, ``[pairs]`` float32: how much more the preferred list gained."""
    assert pairs.reference_chosen is not None
    assert pairs.reference_rejected is not None
    gained = pairs.chosen.float() - pairs.reference_chosen.float()
    return gained - (pairs.rejected.float() - pairs.reference_rejected.float())


def _check(pairs: PairLogProbs, loss_type: str, beta: float, label_smoothing: float) -> None:
    if loss_type not in get_args(LossType):
        raise ConfigError(f"loss_type={loss_type!r} is unknown; use one of {get_args(LossType)}.")
    if beta <= 0:
        raise ConfigError(f"beta is {beta}; expected above 0.")
    if not 0 <= label_smoothing < 0.5:
        raise ConfigError(f"label_smoothing is {label_smoothing}; expected 0 to below 0.5.")
    if loss_type in _NEEDS_NO_REFERENCE:
        return
    if pairs.reference_chosen is None or pairs.reference_rejected is None:
        raise DataError(f"{loss_type} needs the log-probabilities of a reference in every pair.")
    if not torch.equal(pairs.chosen_codes, pairs.rejected_codes):
        row = int((pairs.chosen_codes != pairs.rejected_codes).nonzero()[0])
        raise DataError(
            f"pair {row} holds lists of {int(pairs.chosen_codes[row])} and "
            f"{int(pairs.rejected_codes[row])} codes: their sums cannot be compared. Use lists of "
            "one length, or simpo."
        )
