"""Files and directories that are whole or absent, whatever happens in between."""

import errno
import os
from pathlib import Path

import pytest

from llmrec.errors import ArtifactError, StorageError
from llmrec.storage import (
    atomic_directory,
    atomic_file,
    file_sha256,
    read_json,
    require_file,
    require_finished,
    require_place,
    write_json,
    write_text,
)

MARKER = "made.json"


def write(path, text, marker=True):
    with atomic_directory(path, MARKER) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "text").write_text(text)
        if marker:
            (folder / MARKER).write_text("{}")


def tree(path):
    return {
        str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()
    }


class Stop(Exception):
    pass


def stop_after(_):
    raise Stop


class TestFile:
    def test_written_and_replaced(self, tmp_path):
        path = tmp_path / "new" / "a.txt"
        for text in ("one", "two"):
            with atomic_file(path) as temporary:
                assert temporary.parent == path.parent  # the rename must stay on one file system
                assert temporary.suffix == ".txt"
                temporary.write_text(text)
            assert path.read_text() == text
        assert os.listdir(path.parent) == ["a.txt"]
        assert path.stat().st_mode & 0o777 == 0o644

    def test_not_there_before_the_block_ends(self, tmp_path):
        with atomic_file(tmp_path / "a") as temporary:
            temporary.write_text("one")
            assert not (tmp_path / "a").exists()

    def test_an_error_leaves_the_old_file_and_nothing_else(self, tmp_path):
        write_text(tmp_path / "a", "old")
        with pytest.raises(Stop), atomic_file(tmp_path / "a") as temporary:
            stop_after(temporary.write_text("half"))
        assert tree(tmp_path) == {"a": "old"}


class TestDirectory:
    def test_written_and_replaced(self, tmp_path):
        path = tmp_path / "new" / "run"
        write(path, "one")
        (path / "extra").write_text("of the old one")
        write(path, "two")
        assert tree(path) == {MARKER: "{}", "deep/text": "two"}
        assert os.listdir(path.parent) == ["run"]
        assert path.stat().st_mode & 0o777 == 0o755

    def test_an_empty_directory_may_be_filled(self, tmp_path):
        (tmp_path / "run").mkdir()
        write(tmp_path / "run", "one")
        assert tree(tmp_path / "run")["deep/text"] == "one"

    def test_an_error_leaves_the_old_one_and_nothing_else(self, tmp_path):
        write(tmp_path / "run", "old")
        with pytest.raises(Stop), atomic_directory(tmp_path / "run", MARKER) as folder:
            stop_after((folder / MARKER).write_text("{}"))
        assert tree(tmp_path) == {f"run/{MARKER}": "{}", "run/deep/text": "old"}

    def test_a_block_that_forgets_the_marker_is_refused(self, tmp_path):
        write(tmp_path / "run", "old")
        with pytest.raises(ArtifactError, match=r"run would be incomplete: made\.json"):
            write(tmp_path / "run", "new", marker=False)
        assert tree(tmp_path / "run")["deep/text"] == "old"

    @pytest.mark.parametrize("kind", ["directory", "file"])
    def test_what_somebody_else_made_is_not_replaced(self, tmp_path, kind):
        target = tmp_path / "letters"
        (target if kind == "file" else target / "dear.txt").parent.mkdir(exist_ok=True)
        (target if kind == "file" else target / "dear.txt").write_text("Dear")
        before = tree(tmp_path)
        with pytest.raises(ArtifactError, match=r"letters exists and is not .* no made\.json"):
            write(target, "new")
        assert tree(tmp_path) == before

    def test_a_rename_that_fails_puts_the_old_one_back(self, tmp_path, monkeypatch):
        write(tmp_path / "run", "old")
        real = Path.rename

        def rename(self, target):
            if self.suffix == ".tmp":
                raise OSError(errno.EIO, "Input/output error")
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="Input/output"):
            write(tmp_path / "run", "new")
        assert tree(tmp_path) == {f"run/{MARKER}": "{}", "run/deep/text": "old"}

    def test_left_overs_of_a_kill_are_not_in_the_way(self, tmp_path):
        write(tmp_path / "run", "old")
        (tmp_path / ".run.old").mkdir()
        (tmp_path / ".run.old" / "text").write_text("older")
        write(tmp_path / "run", "new")
        assert tree(tmp_path / "run")["deep/text"] == "new"
        assert not (tmp_path / ".run.old").exists()


class RustError(Exception):
    """What safetensors raises: no errno, the number in the text."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device"),
        (PermissionError(errno.EACCES, "no"), "Permission denied"),
        (RustError("I/O error: File too large (os error 27)"), "File too large"),
    ],
)
def test_refusals_of_the_file_system_are_a_sentence(tmp_path, error, reason):
    write_text(tmp_path / "a", "old")
    write(tmp_path / "run", "old")
    before = tree(tmp_path)
    sentence = f"/a cannot be written: {reason}; .*unchanged"
    with pytest.raises(StorageError, match=sentence), atomic_file(tmp_path / "a"):
        raise error
    sentence = f"/run cannot be written: {reason}"
    with pytest.raises(StorageError, match=sentence), atomic_directory(tmp_path / "run", MARKER):
        raise error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("deep", ["run", "some/where/run"])
def test_a_place_below_a_file_is_refused(tmp_path, deep):
    write_text(tmp_path / "a", "old")
    target = tmp_path / "a" / deep
    sentence = r"run cannot be written: .*/a is a file, not a directory; choose another"
    with pytest.raises(StorageError, match=sentence):
        require_place(target)
    with pytest.raises(StorageError, match=sentence):
        write_text(target, "new")
    with pytest.raises(StorageError, match=sentence):
        write(target, "new")
    assert tree(tmp_path) == {"a": "old"}


def test_places_that_can_be_made_are_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("run", "new/deep/run", tmp_path / "new" / "run"):
        require_place(place)
    assert not any(tmp_path.iterdir())  # a check, which makes nothing


def test_what_a_link_leads_to_is_replaced_and_not_the_link(tmp_path):
    for text in ("first", "second"):
        with atomic_directory(tmp_path / "link", "marker") as made:
            (made / "marker").write_text(text)
        if text == "first":
            (tmp_path / "link").rename(tmp_path / "real")
            (tmp_path / "link").symlink_to("real")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "marker").read_text() == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


@pytest.mark.parametrize("place", [".", "..", "../here"])
def test_the_folder_one_is_in_is_not_replaced(tmp_path, monkeypatch, place):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ArtifactError, match="is the folder you are in, or one above it"):
        require_place(place)
    with (
        pytest.raises(ArtifactError, match="is the folder you are in"),
        atomic_directory(place, "m"),
    ):
        pass


def test_only_work_that_is_older_than_its_result_may_go(tmp_path):
    work, result = tmp_path / "work", tmp_path / "result"
    require_finished(work, result)  # nothing there
    (work / "step-1").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"work holds work that was broken off; .*--resume"):
        require_finished(work, result)
    result.touch()
    os.utime(work / "step-1", (1000, 1000))
    require_finished(work, result)
    os.utime(result, (999, 999))
    with pytest.raises(ArtifactError, match="broken off"):
        require_finished(work, result)


def test_a_directory_is_not_replaced_by_a_file(tmp_path):
    for write_to in (require_file, lambda path: write_text(path, "new")):
        with pytest.raises(StorageError, match=f"{tmp_path.name} is a directory; name a file"):
            write_to(tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="/a cannot be written: No such file or directory"):
        write_text(tmp_path / "a", "new")


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (OSError(errno.EIO, "broken"), KeyError("x"), ArtifactError("said already")):
        with pytest.raises(type(error)) as caught, atomic_file(tmp_path / "a"):
            raise error
        assert caught.value is error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full(tmp_path):
    with pytest.raises(StorageError, match="No space left"), atomic_file(tmp_path / "a"):
        Path("/dev/full").write_text("x")
    assert not (tmp_path / "a").exists()


def test_json_round_trip_and_refusals(tmp_path):
    path = tmp_path / "a.json"
    value = {"ü": [1, 2.5, None, "</script>"]}
    write_json(path, value)
    assert read_json(path) == value
    assert "ü" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert read_json(path) == value
    with pytest.raises(ArtifactError, match=r"b\.json is missing"):
        read_json(tmp_path / "b.json")
    for content in (b'{"a": 1', b"\xff\xfe", b""):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"a\.json is not valid JSON"):
            read_json(path)


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "a") == expected
