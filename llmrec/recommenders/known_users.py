"""From ids of users to their histories, as a recommender keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import UnknownIdError

if TYPE_CHECKING:
    from llmrec.contracts import OnUnknown, Users


def histories_of(known: Histories | None, users: Users, on_unknown: OnUnknown) -> Histories:
    """Histories of users, in the order asked for.

    Args:
        known: Histories that a model keeps; None where it was saved without them.
        users: Histories, which are given back as they are, or one id or several.
        on_unknown: What to do about ids that are not among the known ones.

    Raises:
        UnknownIdError: An id is unknown and may not be skipped, or no histories are kept.
    """
    if isinstance(users, Histories):
        return users
    if known is None:
        raise UnknownIdError(
            "this model was saved without its users' histories; pass Histories instead of ids."
        )
    if isinstance(users, np.integer | np.str_):  # one id out of a table or an array
        users = users.item()
    wanted = [users] if isinstance(users, str | int) else users
    ids = Vocabulary(known.user_ids, "user")
    codes = ids.encode(wanted, on_unknown="error" if on_unknown == "error" else "zero")
    return known.take(codes[codes > 0].astype(np.int64) - 1)
