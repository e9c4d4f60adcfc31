from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from ion.canonical import digest_bytes
from ion.errors import IonError
from ion.evidence import ArtifactStore
from ion.evidence.files import read_regular, write_atomic, write_new

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def failure(store: ArtifactStore, digest: str, limit: int = 100) -> str:
    with pytest.raises(IonError) as error:
        store.get(digest, limit=limit)
    return error.value.code


def test_bytes_come_back_under_their_digest(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put(b"hello")
    assert digest == digest_bytes(b"hello")
    assert store.get(digest) == b"hello"
    name = digest.removeprefix("sha256:")
    path = tmp_path / "artifacts" / "sha256" / name[:2] / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_changed_missing_and_large_bytes_are_told_apart(store: ArtifactStore) -> None:
    digest = store.put(b"hello")
    assert failure(store, digest, limit=4) == "artifact-too-large"
    store.path(digest).write_bytes(b"hellO")
    assert failure(store, digest) == "artifact-corrupt"
    store.path(digest).unlink()
    assert failure(store, digest) == "artifact-missing"
    os.mkfifo(store.path(digest))
    assert failure(store, digest) == "artifact-unreadable"
    assert not store.has(digest)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../x", "sha256:" + "A" * 64, "md5:" + "0" * 32])
def test_only_digests_are_looked_up(store: ArtifactStore, digest: str) -> None:
    assert failure(store, digest) == "bad-digest"


def test_putting_again_repairs_damage(store: ArtifactStore) -> None:
    digest = store.put(b"hello")
    store.path(digest).write_bytes(b"damaged")
    store.put(b"hello")
    assert store.get(digest) == b"hello"


def test_a_model_comes_back_under_its_version(store: ArtifactStore) -> None:
    files = {"model.json": b"{}", "extra/words.txt": b"x"}
    manifest = store.put_model(files)
    assert store.get_model(manifest.digest) == files
    assert store.get_manifest(manifest.digest) == manifest


def test_a_url_is_refused_rather_than_made_a_folder() -> None:
    with pytest.raises(IonError) as error:
        ArtifactStore("s3://bucket/artifacts")
    assert error.value.code == "artifacts-url"


def test_many_writers_of_the_same_bytes(store: ArtifactStore) -> None:
    threads = [threading.Thread(target=store.put, args=(b"same" * 1000,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(digest_bytes(b"same" * 1000)) == b"same" * 1000


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_new_file_never_replaces(tmp_path: Path) -> None:
    write_new(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "file", b"second")
    assert read_regular(tmp_path / "file", 5) == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
