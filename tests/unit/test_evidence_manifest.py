from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.evidence import Entry, Manifest

FILE = {"path": "model.json", "sha256": digest_bytes(b"x"), "size": 1}


def as_bytes(*files: object, **more: object) -> bytes:
    return canonical_bytes({"files": list(files), "format": "ion-manifest/1", **more})


def test_the_digest_is_of_the_documented_bytes() -> None:
    manifest = Manifest.from_files({"b/c": b"1", "a": b""})
    assert manifest.to_bytes() == (
        b'{"files":[{"path":"a","sha256":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",'
        b'"size":0},{"path":"b/c","sha256":"sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",'
        b'"size":1}],"format":"ion-manifest/1"}'
    )
    assert manifest.digest == digest_bytes(manifest.to_bytes())


def test_the_order_of_files_does_not_matter() -> None:
    assert Manifest.from_files({"b": b"1", "a": b"2"}) == Manifest.from_files({"a": b"2", "b": b"1"})


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


@given(st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=6))
def test_bytes_round_trip(files: dict[str, bytes]) -> None:
    manifest = Manifest.from_files(files)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@given(st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=6), names, st.binary(max_size=20))
def test_other_files_have_another_digest(files: dict[str, bytes], name: str, content: bytes) -> None:
    changed = {**files, name: content}
    assert (Manifest.from_files(changed).digest == Manifest.from_files(files).digest) == (changed == files)


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", ".", "a\\b", "C:x", "a\0b", "a\nb", "a\u202eb",
        "e\u0301", "x" * 1025, "\ud800",
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_model_or_reads_two_ways_is_refused(path: str) -> None:
    with pytest.raises(IonError) as error:
        Manifest.from_files({path: b"1"})
    assert error.value.code == "bad-manifest"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", as_bytes(), as_bytes(FILE, FILE), as_bytes(FILE, {**FILE, "path": "a"}),
        as_bytes({**FILE, "path": "../x"}), as_bytes({**FILE, "size": -1}), as_bytes({**FILE, "size": True}),
        as_bytes({**FILE, "size": 1.5}), as_bytes({**FILE, "sha256": "md5:0"}), as_bytes({**FILE, "mode": 7}),
        as_bytes({"path": "a"}), as_bytes("a"), as_bytes(FILE, time=1), b" " + as_bytes(FILE), as_bytes(FILE) + b"\n",
        as_bytes(FILE).replace(b'"size":1', b'"size":1,"size":1'), as_bytes(FILE).replace(b"model", b"\\u006dodel"),
        as_bytes(FILE, {**FILE, "path": "model.json/x"}),
        canonical_bytes({"files": [FILE], "format": "ion-manifest/2"}),
    ],
)  # fmt: skip
def test_anything_but_the_one_form_is_refused(data: bytes) -> None:
    with pytest.raises(IonError) as error:
        Manifest.from_bytes(data)
    assert error.value.code in {"bad-manifest", "bad-json"}


def test_an_oversize_manifest_is_refused_both_ways() -> None:
    entries = tuple(Entry(f"{number:09}", 0, digest_bytes(b"")) for number in range(12_000))
    with pytest.raises(IonError, match="larger than"):
        Manifest(entries).to_bytes()
    with pytest.raises(IonError, match="larger than"):
        Manifest.from_bytes(b"[" * (1 << 20) + b"[")
