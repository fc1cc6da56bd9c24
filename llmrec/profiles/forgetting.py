"""Remove what profiles say about a user: from saved tables and from the shards they grew from.

Rows of other users stay as they are. Texts about items are left alone, in saved tables; a folder
of shards does not say whether its subjects are users, so name only folders of users.
"""

import shutil
from pathlib import Path

import polars as pl

from llmrec.errors import ArtifactError
from llmrec.profiles.profile import MANIFEST, Profiles
from llmrec.profiles.writing import shard_name
from llmrec.storage import atomic_file

_COLUMNS = {"key", "subject", "text"}


def forget_in_profiles(folder: str | Path, user: str) -> int:
    """Remove a user's texts from a folder.

    Args:
        folder: Of :meth:`Profiles.save`, or of shards that ``write_profiles`` wrote.
        user: The user's id, as text.

    Returns:
        How many texts went.

    Raises:
        ArtifactError: It is neither, or a file in it is damaged.
        StorageError: A file cannot be written; what was removed before is gone.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return _forget_in_table(folder, user)
    files = sorted(folder.glob("*-*-*.parquet")) if folder.is_dir() else []
    if not files:
        raise ArtifactError(
            f"{folder} holds no profiles: neither {MANIFEST} nor a shard that write_profiles wrote."
        )
    return sum(_forget_in_shard(file, user) for file in files)


def _forget_in_table(folder: Path, user: str) -> int:
    profiles = Profiles.load(folder)
    if profiles.kind != "user":
        return 0
    own = profiles.ids.cast(pl.String) == user
    if own.all():
        shutil.rmtree(folder)
    elif own.any():
        Profiles.from_frame(
            profiles.frame.filter(~own),
            profiles.kind,
            profiles.template_fingerprint,
            profiles.writer_fingerprint,
            profiles.origin,
        ).save(folder)
    return int(own.sum())


def _forget_in_shard(file: Path, user: str) -> int:
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArtifactError(f"{file} is damaged ({error}); remove it.") from None
    writer = file.name.partition("-")[0]
    if set(frame.columns) != _COLUMNS or shard_name(writer, frame) != file.name:
        raise ArtifactError(f"{file} is no shard of profiles, or was changed; remove it.")
    kept = frame.filter(pl.col("subject") != user)
    if kept.height < frame.height:
        if kept.height:
            with atomic_file(file.with_name(shard_name(writer, kept))) as temporary:
                kept.write_parquet(temporary)
        file.unlink()
    return frame.height - kept.height
