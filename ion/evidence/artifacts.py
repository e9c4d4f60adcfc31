"""Content-addressed bytes: a digest goes in the facts, the bytes go here."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ion.canonical import checked_digest, digest_bytes
from ion.errors import IonError
from ion.evidence.files import MIB, opened_beneath, write_atomic, write_pieces
from ion.evidence.hashed_reading import read_hashed
from ion.evidence.manifest import MAX_BYTES, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from io import BufferedReader

    from ion.evidence.hashed_reading import Content

MAX_ARTIFACT = 1024 * MIB


class ArtifactStore:
    """Artifacts in a folder, each at ``sha256/<first two hex digits>/<hex>``.

    Nothing here is secret (files are 0644): rows of people go through `ion.serving.capture` first.

    Args:
        root: the folder, made when the first artifact is put.

    Raises:
        IonError: ``artifacts-url`` for a URL; this version stores in local folders.
    """

    def __init__(self, root: Path | str) -> None:
        if "://" in str(root):
            raise IonError("artifacts-url", f"artifacts cannot be stored at a URL: {root}", "give a local folder")
        self._root = Path(root)

    def path(self, digest: str) -> Path:
        """Return where the artifact is, or would be.

        Raises:
            IonError: ``bad-digest``.
        """
        name = checked_digest(digest).removeprefix("sha256:")
        return self._root / "sha256" / name[:2] / name

    def has(self, digest: str) -> bool:
        """Say whether an artifact of this digest is there, without reading it; a link is none."""
        path = self.path(digest)
        return path.is_file() and not path.is_symlink()

    def put(self, data: bytes) -> str:
        """Store the bytes and return their digest; durable on return. Damaged bytes are replaced."""
        digest = digest_bytes(data)
        path = self.path(digest)
        try:
            self.get(digest, limit=len(data))
        except IonError:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomic(path, data)
        return digest

    def take(self, digest: str, pieces: Iterable[bytes], *, limit: int = MAX_ARTIFACT) -> None:
        """Store bytes that come in pieces, if they are those that the digest names; durable on return.

        Raises:
            IonError: ``bad-digest``, ``artifact-too-large`` over ``limit`` bytes, ``artifact-corrupt``; then nothing
                is stored.
            OSError: the folder is not writable, or the disk is full.
        """
        path = self.path(digest)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_pieces(path, _checked(digest, pieces, limit))

    def holds(self, digest: str) -> bool:
        """Say whether the bytes here are those that the digest names: all of them are read, none is kept."""
        try:
            with self.opened(digest) as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == digest
        except (OSError, IonError):
            return False

    @contextmanager
    def opened(self, digest: str) -> Iterator[BufferedReader]:
        """Open an artifact to pass it on; whoever reads it hashes what was read. No symbolic link is followed.

        Raises:
            IonError: ``bad-digest``, ``not-a-file``.
            OSError: it is not there, or not readable.
        """
        with opened_beneath(self._root, self.path(digest)) as file:
            yield file

    def get(self, digest: str, *, limit: int = MAX_ARTIFACT) -> bytes:
        """Return the bytes, read once and hashed as read. No symbolic link is followed.

        Raises:
            IonError: ``bad-digest``, ``artifact-missing``, ``artifact-unreadable``, ``artifact-too-large``
                (over ``limit`` bytes) or ``artifact-corrupt`` (other bytes than the digest names).
        """
        data = self._read(digest, limit)
        return data if isinstance(data, bytes) else bytes(data)

    def _read(self, digest: str, limit: int) -> Content:
        path = self.path(digest)
        try:
            data, found = read_hashed(self._root, path, limit)
        except FileNotFoundError as error:
            hint = "it was never stored here, or was deleted"
            raise IonError("artifact-missing", f"no artifact {digest}", hint) from error
        except OSError as error:
            raise IonError("artifact-unreadable", f"cannot read artifact {digest}: {error.strerror}") from error
        except IonError as error:
            code = "artifact-too-large" if error.code == "file-too-large" else "artifact-unreadable"
            raise IonError(code, f"artifact {digest}: {error.message}") from error
        if found != digest:
            raise IonError(
                "artifact-corrupt",
                f"the bytes stored as {digest} are other bytes",
                "restore the artifact from a backup, or put it again from its source",
            )
        return data

    def put_model(self, files: Mapping[str, bytes]) -> Manifest:
        """Store every file, then the manifest, whose digest is the model version.

        Raises:
            IonError: ``bad-manifest``.
        """
        manifest = Manifest.from_files(files)
        content = manifest.to_bytes()
        for data in files.values():
            self.put(data)
        self.put(content)  # last: a manifest that is there implies its files are
        return manifest

    def get_manifest(self, model: str) -> Manifest:
        """Return the manifest of a model version.

        Raises:
            IonError: as for `get`, ``bad-json`` and ``bad-manifest``.
        """
        return Manifest.from_bytes(self.get(model, limit=MAX_BYTES))

    def get_files(self, manifest: Manifest) -> dict[str, Content]:
        """Return every file the manifest names, path → content.

        Raises:
            IonError: as for `get`; ``artifact-corrupt`` also for another size than the manifest says.
        """
        files: dict[str, Content] = {}
        for entry in manifest.entries:
            data = self._read(entry.sha256, entry.size)
            if len(data) != entry.size:
                raise IonError("artifact-corrupt", f"{entry.path!r} has {len(data)} bytes, not {entry.size}")
            files[entry.path] = data
        return files

    def get_model(self, model: str) -> dict[str, Content]:
        """Return the files of a model version, path → content.

        Raises:
            IonError: as for `get_manifest` and `get_files`.
        """
        return self.get_files(self.get_manifest(model))


def _checked(digest: str, pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise IonError("artifact-too-large", f"artifact {digest} has more than {limit} bytes")
        hashed.update(piece)
        yield piece
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise IonError("artifact-corrupt", f"the bytes that came as {digest} are other bytes")
