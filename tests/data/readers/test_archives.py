import stat
import zipfile

import pytest

from llmrec.data.readers import archives
from llmrec.data.readers.archives import extract_zip
from llmrec.errors import DataError


def zip_of(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_files_and_folders_come_out(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("x/y.txt", "why"), ("z.txt", "zed")])
    extract_zip(path, tmp_path / "out")
    assert (tmp_path / "out/x/y.txt").read_text() == "why"
    assert (tmp_path / "out/z.txt").read_text() == "zed"


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "a/../b"]
)
def test_entries_that_lead_outside_are_refused(tmp_path, name):
    path = zip_of(tmp_path / "a.zip", [("good.txt", "x"), (name, "evil")])
    with pytest.raises(DataError, match="points outside the archive"):
        extract_zip(path, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "out"]


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zip_of(tmp_path / "a.zip", [(link, "/etc/passwd")])
    with pytest.raises(DataError, match="outside"):
        extract_zip(path, tmp_path / "out")


def test_unpacked_bytes_are_bounded(tmp_path):
    path = zip_of(tmp_path / "bomb.zip", [("a", b"0" * 2_000_000), ("b", b"0" * 2_000_000)])
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="more bytes than allowed"):
        extract_zip(path, tmp_path / "out", max_bytes=3_000_000)
    assert not any((tmp_path / "out").iterdir())
    extract_zip(path, tmp_path / "out", max_bytes=4_000_000)


def test_number_and_names_of_entries_are_bounded(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "a.zip", [("A", "1"), ("a", "2")])
    with pytest.raises(DataError, match="twice"):
        extract_zip(path, tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 1)
    with pytest.raises(DataError, match="2 entries; at most 1"):
        extract_zip(path, tmp_path / "out")


def test_damaged_archives_leave_nothing(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a", b"0123456789" * 100)])
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a whole zip archive"):
        extract_zip(path, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_an_occupied_folder_is_left_alone(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a", "1")])
    with pytest.raises(DataError, match="not empty"):
        extract_zip(path, tmp_path)
