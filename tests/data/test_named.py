import io
import re
import zipfile

import pytest

from llmrec.data import download, named
from llmrec.data.cards import CARDS, Download
from llmrec.data.named import (
    cache_home,
    data_home,
    dataset_info,
    find_dataset,
    list_datasets,
    load_dataset,
)
from llmrec.errors import ArtifactError, ConfigError, DataError

RATINGS = "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,31,4,1260759145\n"
MOVIES = "movieId,title,genres\n31,Dangerous Minds,Drama\n32,Other,War\n"


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def card(monkeypatch):
    """ml-latest-small as if it were a tiny release."""
    from dataclasses import replace

    tiny = replace(CARDS["ml-latest-small"], counts=(2, 2, 2))
    monkeypatch.setitem(CARDS, tiny.name, tiny)
    return tiny


@pytest.fixture
def network(monkeypatch):
    """Addresses asked for, and an archive in answer to each."""
    asked = []
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("ml-latest-small/ratings.csv", RATINGS)
        out.writestr("ml-latest-small/movies.csv", MOVIES)

    def urlopen(url, timeout):
        asked.append(url)
        answer = io.BytesIO(buffer.getvalue())
        answer.geturl = lambda: url
        return answer

    monkeypatch.setattr(download.urllib.request, "urlopen", urlopen)
    return asked


def test_cards_are_complete():
    for card in list_datasets():
        assert CARDS[card.name] is card
        for text in (card.description, card.edition, card.licence, card.citation):
            assert len(text) > 10
        assert card.homepage.startswith("https://")
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in card.files.values())
        assert all(d.url.startswith("https://") for d in card.downloads)
        assert all(d.md5 is None or re.fullmatch(r"[0-9a-f]{32}", d.md5) for d in card.downloads)
        assert card.files or card.downloads
        assert not card.address_tried
        assert "sha256" in card.checksum if card.files else "not verified" in card.checksum


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ConfigError, match="'amazon-beuty'; did you mean 'amazon-beauty'"):
        dataset_info("amazon-beuty")
    with pytest.raises(ConfigError, match=r"unknown data set.*own.*LLMREC_DATA_HOME names"):
        load_dataset("../data")


def test_the_data_folder_is_the_one_named(homes, monkeypatch):
    assert data_home() == homes / "data"
    for value in ("", None):
        monkeypatch.delenv("LLMREC_DATA_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("LLMREC_DATA_HOME", value)
        with pytest.raises(ConfigError, match="LLMREC_DATA_HOME is not set"):
            data_home()


def test_without_permission_the_licence_is_named_and_nothing_is_fetched(network):
    with pytest.raises(DataError, match=r"Its licence: GroupLens.*accept_licence=True"):
        load_dataset("ml-100k")
    shown = []
    with pytest.raises(DataError, match="licence"):
        load_dataset("ml-100k", accept_licence=lambda card: shown.append(card))
    assert [card.name for card in shown] == ["ml-100k"]
    assert network == []


def test_a_download_is_kept_in_the_cache_and_used_again(card, network):
    first = load_dataset(card.name, accept_licence=True)
    assert first.interactions.frame.rows() == [(1, 31, 1260759144, 2.5), (2, 31, 1260759145, 4.0)]
    assert first.catalog.titles.to_list() == ["Dangerous Minds", "Other"]
    assert network == [card.downloads[0].url]
    assert load_dataset(card.name).fingerprint == first.fingerprint
    assert len(network) == 1
    assert sorted(p.name for p in (cache_home() / "datasets").iterdir()) == [card.name]


def test_an_official_file_put_there_by_hand_needs_no_network(homes, card, network, monkeypatch):
    with download.urllib.request.urlopen("https://x", timeout=1) as answer:
        archive = answer.read()
    network.clear()
    (homes / "data").mkdir()
    (homes / "data" / "ml-latest-small.zip").write_bytes(archive)
    assert len(load_dataset(card.name).interactions) == 2
    assert network == []
    folder = find_dataset(card.name)
    assert folder == cache_home() / "datasets" / card.name


def test_an_official_file_with_another_checksum_is_not_used(homes, network):
    (homes / "data").mkdir()
    (homes / "data" / "ml-100k.zip").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"ml-100k.zip: the file's md5 is .* expected 0e33842e"):
        load_dataset("ml-100k", accept_licence=True)
    assert network == []


def test_a_download_with_another_checksum_is_not_kept(card, network, monkeypatch):
    from dataclasses import replace

    wrong = replace(card, downloads=(Download(card.downloads[0].url, md5="0" * 32),))
    monkeypatch.setitem(CARDS, card.name, wrong)
    with pytest.raises(DataError, match=r"md5 is .* expected 0000"):
        load_dataset(card.name, accept_licence=True)
    assert not list((cache_home() / "datasets").iterdir())


def test_a_download_of_another_edition_is_not_kept(network):
    expected = r"found users, items, events \(2, 2, 2\), expected \(610, 9742, 100836\)"
    with pytest.raises(DataError, match=expected):
        load_dataset("ml-latest-small", accept_licence=True)
    assert find_dataset("ml-latest-small") is None


def test_a_download_is_bounded_and_encrypted(tmp_path, network):
    with pytest.raises(DataError, match="larger than 10 bytes"):
        download.fetch("https://example.org/a.zip", tmp_path / "a.zip", max_bytes=10)
    with pytest.raises(ConfigError, match="only https"):
        download.fetch("http://example.org/a.zip", tmp_path / "a.zip", max_bytes=10)
    with pytest.raises(ConfigError, match="only https"):
        download.fetch("file:///etc/passwd", tmp_path / "a.zip", max_bytes=10)
    assert not list(tmp_path.glob("*a.zip*"))


def test_a_dead_connection_gets_a_sentence(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise download.urllib.error.URLError("no route to host")

    monkeypatch.setattr(download.urllib.request, "urlopen", urlopen)
    with pytest.raises(DataError, match="no route to host; check the connection"):
        load_dataset("ml-100k", accept_licence=True)


def test_editions_without_an_address_say_where_files_go():
    with pytest.raises(DataError, match=r"no official address; put its files sequences.csv.gz"):
        load_dataset("amazon-beauty", accept_licence=True)


def test_the_data_home_comes_before_the_cache(homes):
    for place, item in (("data", 7), ("cache/datasets", 8)):
        folder = homes / place / "mine"
        folder.mkdir(parents=True)
        (folder / "interactions.csv").write_text(f"user_id,item_id\n1,{item}\n")
    assert load_dataset("mine").interactions.frame.rows() == [(1, 7)]
    (homes / "data/mine/interactions.csv").unlink()
    assert load_dataset("mine").interactions.frame.rows() == [(1, 8)]


def test_a_copy_with_another_checksum_is_refused(homes):
    folder = homes / "data" / "amazon-office"
    folder.mkdir(parents=True)
    (folder / "sequences.csv.gz").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=r"sequences.csv.gz is not the file.*sha256"):
        load_dataset("amazon-office")


def test_a_copy_with_a_file_missing_is_refused(homes):
    folder = homes / "data" / "ml-latest-small"
    folder.mkdir(parents=True)
    (folder / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    with pytest.raises(ArtifactError, match=r"interactions.csv.gz is missing"):
        load_dataset("ml-latest-small")


def test_simulated_names_go_to_the_simulator(monkeypatch):
    import sys
    from types import ModuleType, SimpleNamespace

    fake = ModuleType("llmrec.data.simulator")
    fake.simulate = lambda name: SimpleNamespace(dataset=f"made {name}")
    monkeypatch.setitem(sys.modules, "llmrec.data.simulator", fake)
    assert named.load_dataset("simulate:small@1") == "made simulate:small@1"
