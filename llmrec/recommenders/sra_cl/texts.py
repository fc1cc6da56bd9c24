"""From training histories to text vectors of sequences.

They are written from a user's training events, or given, and then checked: a profile may not know
more of a user than the training part holds.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from llmrec.data.catalog import Catalog
from llmrec.data.histories import Histories
from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ConfigError, ProtocolError
from llmrec.profiles.profile import Profiles
from llmrec.profiles.requests import user_requests
from llmrec.profiles.writers import TemplateWriter
from llmrec.profiles.writing import write_profiles
from llmrec.recommenders.sra_cl.config import SRACLConfig
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.retrieval.encoders import text_encoder
from llmrec.retrieval.vectors import embed_texts
from llmrec.templates import load_template

USER_TEMPLATE = "user_profile"


def embed_sequences(
    profiles: Profiles,
    events: TrainingEvents,
    train: Histories,
    encoder: str,
    cache: Path | None,
    knows_future: bool,
) -> npt.NDArray[np.float16]:
    """The vector of the newest profile that each sequence may know.

    Args:
        profiles: Of users, checked.
        events: The training events.
        train: The histories they come from.
        encoder: Name of the text encoder.
        cache: Where vectors are kept.
        knows_future: Let a sequence that precedes the user's first profile use that one.

    Returns:
        ``[events, D]`` float16; zero rows for sequences without a profile.
    """
    texts = profiles.texts.to_list()
    made = text_encoder(encoder, sorted(set(texts)))
    vectors = embed_texts(texts, made, cache).astype(np.float16)
    users = train.user_ids.gather(events.users)
    rows = profiles.rows_at(users, np.arange(len(events)) - events.starts + 1, knows_future)
    found = vectors[rows]
    found[rows < 0] = 0
    return found


def write_user_profiles(
    train: Histories, catalog: Catalog, config: SRACLConfig, folder: Path
) -> Profiles:
    """Profiles by template at the granularity of the settings."""
    granularity = config.user_text
    if granularity == "mean":
        raise ConfigError("user_text is mean: no profile is written.")
    requests = user_requests(
        train, catalog, granularity, config.profile_every, include_last=granularity != "user"
    )
    writer = TemplateWriter(load_template(USER_TEMPLATE))
    return write_profiles(requests, writer, folder)


def load_user_profiles(folder: str) -> Profiles:
    """Read saved profiles.

    Raises:
        ArtifactError: The folder holds none.
        ConfigError: They are of items.
    """
    profiles = Profiles.load(folder)
    if profiles.kind != "user":
        raise ConfigError(f"{folder} holds profiles of items; sra_cl reads those of users.")
    return profiles


def require_training_only(profiles: Profiles, train: Histories) -> None:
    """Refuse user profiles that know more events of a user than ``train`` holds.

    A second look at fitting: :func:`llmrec.profiles.require_no_leak` has held them against the
    split, but ``train`` may be of another one.

    Raises:
        ProtocolError: They come from another split, or one knows a later event.
        UnknownIdError: A user is not in ``train``.
    """
    theirs, ours = profiles.origin, train.origin
    if theirs is not None and ours is not None and theirs.split_hash != ours.split_hash:
        raise ProtocolError(
            f"the profiles were written from split {theirs.split_hash[:12]} of {theirs.dataset}, "
            f"this training uses {ours.split_hash[:12]}; write them from this split."
        )
    owners = Vocabulary(train.user_ids, "user").encode(profiles.ids).astype(np.int64) - 1
    known = profiles.frame["n_events"].to_numpy()
    late = np.flatnonzero(known > train.lengths[owners])
    if late.size:
        row = profiles.frame.row(int(late[0]), named=True)
        raise ProtocolError(
            f"the profile of user {row['user_id']!r} was written from {row['n_events']} events, "
            f"its newest item {row['newest_item']!r}, but the training part holds "
            f"{train.lengths[owners[late[0]]]} events of that user: it knows a held-out event. "
            "Write profiles from training events only."
        )
