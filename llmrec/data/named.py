"""Data sets by name.

``load_dataset`` looks in ``LLMREC_DATA_HOME``, then in the cache (``LLMREC_HOME``, else
``~/.cache/llmrec``), then downloads from the official address once the licence is accepted; an
official file that was put into ``LLMREC_DATA_HOME`` by hand is taken instead of a download.
``simulate:PRESET@VERSION`` names are made by the simulator. A folder in either place that is in
the uniform layout is a name too. A copy whose checksum differs is refused, never repaired.
"""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmrec.data.cards import CARDS, Card
from llmrec.data.dataset import Dataset
from llmrec.data.download import check_md5, fetch
from llmrec.data.readers.amazon2014 import read_amazon2014
from llmrec.data.readers.movielens import read_movielens
from llmrec.data.readers.scan import find_table
from llmrec.data.readers.uniform import MANIFEST, read_uniform_folder, write_uniform_folder
from llmrec.errors import ArtifactError, ConfigError, DataError, nearest_name
from llmrec.storage import file_sha256

AcceptLicence = bool | Callable[[Card], bool]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def list_datasets() -> list[Card]:
    """The cards of all public data sets known by name; local folders are not listed."""
    return list(CARDS.values())


def dataset_info(name: str) -> Card:
    """The card of a data set.

    Raises:
        ConfigError: The name is unknown.
    """
    if name not in CARDS:
        raise ConfigError(
            f"unknown data set {name!r}{nearest_name(name, CARDS)}. Data of your own is a folder "
            "with interactions.csv inside the folder that LLMREC_DATA_HOME names, called by its "
            "own name."
        )
    return CARDS[name]


def cache_home() -> Path:
    """Where downloads are kept: ``LLMREC_HOME``, else ``~/.cache/llmrec``."""
    given = os.environ.get("LLMREC_HOME")
    return Path(given) if given else Path.home() / ".cache" / "llmrec"


def data_home() -> Path:
    """The folder that ``LLMREC_DATA_HOME`` names.

    Raises:
        ConfigError: It names none.
    """
    given = os.environ.get("LLMREC_DATA_HOME")
    if not given:
        raise ConfigError("LLMREC_DATA_HOME is not set; let it name the folder of data sets.")
    return Path(given)


def find_dataset(name: str) -> Path | None:
    """The folder that holds a copy of ``name``, or None; the first place searched wins."""
    if not _NAME.fullmatch(name):
        return None
    homes = [cache_home() / "datasets"]
    if data_home := os.environ.get("LLMREC_DATA_HOME"):
        homes.insert(0, Path(data_home))
    for home in homes:
        folder = home / name
        if any(find_table(folder, table) for table in ("interactions", "sequences")):
            return folder
    return None


def load_dataset(name: str, accept_licence: AcceptLicence = False) -> Dataset:
    """Load a data set by name.

    Args:
        name: A name of :func:`list_datasets`, ``simulate:PRESET@VERSION``, or the name of a
            uniform folder in ``LLMREC_DATA_HOME`` or the cache.
        accept_licence: Only for a download: True accepts the licence; a function is shown the
            card and says whether the user accepts.

    Raises:
        ConfigError: The name is unknown.
        DataError: There is no copy and no permission to download one, the download fails, or the
            copy is damaged.
        ArtifactError: The copy in hand does not have the checksum on its card.
    """
    if name.startswith("simulate:"):
        return _simulated(name)
    folder = find_dataset(name)
    if folder is None:
        folder = _prepare(dataset_info(name), accept_licence)
    card = CARDS.get(name)
    if card is None:
        return read_uniform_folder(folder, name)
    if not (folder / MANIFEST).is_file():
        _check_files(folder, card)
    dataset = read_uniform_folder(folder, name, catalog=card.catalog)
    _check_counts(dataset, card)
    return dataset


def _simulated(name: str) -> Dataset:
    from llmrec.data.simulator import simulate  # heavier than the rest, and often not needed

    return simulate(name).dataset


def _check_files(folder: Path, card: Card) -> None:
    for file, expected in card.files.items():
        path = folder / file
        if not path.is_file():
            raise ArtifactError(f"{folder} is no whole copy of {card.name}: {file} is missing.")
        found = file_sha256(path)
        if found != expected:
            raise ArtifactError(
                f"{path} is not the file that {card.name} names: its sha256 is {found}, expected "
                f"{expected}; get a whole copy, or give your own edition another folder name."
            )


def _check_counts(dataset: Dataset, card: Card) -> None:
    found = (len(dataset.user_vocabulary), len(dataset.catalog), len(dataset.interactions))
    if found != card.counts:
        raise DataError(
            f"{card.name}: found users, items, events {found}, expected {card.counts} "
            f"({card.edition}); this is another edition, so give it another name."
        )


def _prepare(card: Card, accept_licence: AcceptLicence) -> Path:
    """Turn the official files, in hand or downloaded, into a folder of the cache."""
    if not card.downloads:
        raise DataError(
            f"{card.name} ({card.edition}) is neither in LLMREC_DATA_HOME nor in the cache, and "
            f"this edition has no official address; put its files {', '.join(card.files)} in the "
            f"folder {card.name} under LLMREC_DATA_HOME. The source is {card.homepage}."
        )
    in_hand = _official_files_in_hand(card)
    if not in_hand:
        _require_licence(card, accept_licence)
    folder = cache_home() / "datasets" / card.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".download-") as temporary:
        dataset = _read_raw(card, in_hand or _downloaded(card, Path(temporary)))
        _check_counts(dataset, card)
        write_uniform_folder(dataset, folder, "parquet")
    return folder


def _downloaded(card: Card, folder: Path) -> list[Path]:
    files = [folder / download.file_name for download in card.downloads]
    for download, file in zip(card.downloads, files, strict=True):
        fetch(download.url, file, md5=download.md5, max_bytes=download.max_bytes)
    return files


def _official_files_in_hand(card: Card) -> list[Path]:
    """The files as downloaded by hand into ``LLMREC_DATA_HOME``, or nothing."""
    data_home = os.environ.get("LLMREC_DATA_HOME")
    files = [Path(data_home or "") / download.file_name for download in card.downloads]
    if not data_home or not all(file.is_file() for file in files):
        return []
    for download, file in zip(card.downloads, files, strict=True):
        check_md5(file, download.md5)
    return files


def _require_licence(card: Card, accept_licence: AcceptLicence) -> None:
    accepted = accept_licence if isinstance(accept_licence, bool) else accept_licence(card)
    if not accepted:
        raise DataError(
            f"{card.name} is not on this machine. Its licence: {card.licence} "
            f"({card.homepage}). To download it, accept the licence: "
            "load_dataset(..., accept_licence=True), or --accept-licence on the command line."
        )


def _read_raw(card: Card, files: list[Path]) -> Dataset:
    if card.reader == "movielens":
        return read_movielens(files[0], card.name)
    if card.reader == "amazon2014":
        return read_amazon2014(files[0], files[1], card.name)
    raise ConfigError(f"{card.name}: {card.reader!r} files are not downloaded.")
