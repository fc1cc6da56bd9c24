import json

import pytest

from llmrec.errors import ArtifactError
from llmrec.signatures.manifests import checked_manifest, hashes_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").write_bytes(b"abc")
    write(tmp_path)
    return tmp_path


def write(folder, **changes):
    hashes = {n: h for n, h in hashes_of(folder).items() if n != "toy.json"}
    manifest = {"model": "toy", "format": 2, "llmrec": "0.1", "card": {}, "sha256": hashes}
    kept = {name: value for name, value in {**manifest, **changes}.items() if value is not None}
    (folder / "toy.json").write_text(json.dumps(kept))


def read(folder):
    return checked_manifest(folder / "toy.json", "toy", 2, {"card"}, "a toy", "is not a saved toy")


def test_hashes_are_those_of_the_files_below(folder):
    # SHA-256 of "abc", FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hashes_of(folder)["inner/weights"] == known
    assert read(folder)["sha256"] == {"inner/weights": known}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other"}, "does not describe a toy"),
        ({"format": 1}, "format 1 is not 2; it was written by llmrec 0.1"),
        ({"card": None}, "incomplete: card"),
        ({"sha256": None}, "incomplete: sha256"),
        ({"sha256": {"inner/weights": "0" * 64}}, "weights is missing or does not match its hash"),
        ({"sha256": {"../outside": "0" * 64}}, "outside is missing or does not match"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(folder, changes, message):
    write(folder, **changes)
    with pytest.raises(ArtifactError, match=message):
        read(folder)


def test_a_file_outside_is_refused_even_with_its_own_hash(folder):
    outside = folder.parent / "outside"
    outside.write_bytes(b"abc")
    write(folder, sha256={"../outside": hashes_of(folder)["inner/weights"]})
    with pytest.raises(ArtifactError, match="outside is missing or does not match"):
        read(folder)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a saved toy: it has no toy\.json"):
        read(tmp_path)
