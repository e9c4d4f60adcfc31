"""The manifest of a model: sorted paths, sizes and digests. Its digest is the model version.

Only bytes count: no time, no host, no path outside the model enters the manifest, so the same files
give the same model version everywhere. Format: docs/spec/manifest.md.
"""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.evidence.files import MIB
from ion.evidence.parsing import MAX_INTEGER, Fields, is_digest, parse_canonical
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "ion-manifest/1"
MAX_BYTES = MIB
MAX_PATH = 1024
_CODE = "bad-manifest"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a model: POSIX path within the model, size in bytes, ``sha256:<hex>``."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a path that could leave the model's folder or be read in two ways."""
        _check_path(self.path)
        if isinstance(self.size, bool) or not 0 <= self.size <= MAX_INTEGER:
            raise IonError(_CODE, f"size of {self.path!r} is not a number of bytes")
        if not is_digest(self.sha256):
            raise IonError(_CODE, f"digest of {self.path!r} is not a sha256 digest")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one model version, sorted by path (code points)."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        """Refuse an empty, unsorted or ambiguous list."""
        if not self.entries:
            raise IonError(_CODE, "a manifest needs at least one file")
        for before, after in pairwise(self.entries):
            if before.path >= after.path:
                raise IonError(_CODE, f"paths are not sorted and distinct at {after.path!r}")
        paths = {entry.path for entry in self.entries}
        for path in paths:
            folder, _, _ = path.rpartition("/")
            while folder:
                if folder in paths:
                    raise IonError(_CODE, f"{folder!r} is a file and a folder")
                folder, _, _ = folder.rpartition("/")

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Manifest:
        """Return the manifest of files given as path → content.

        Raises:
            IonError: ``bad-manifest`` for no file at all, or a path that is not allowed.
        """
        return cls(tuple(Entry(path, len(files[path]), digest_bytes(files[path])) for path in sorted(files)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Parse what `to_bytes` made, and nothing else.

        Raises:
            IonError: ``bad-json`` or ``bad-manifest``.
        """
        fields = Fields.of(parse_canonical(data, MAX_BYTES, "manifest"), "manifest", _CODE)
        fields.literal("format", FORMAT)
        entries = [_entry(value) for value in fields.items("files")]
        fields.done()
        return cls(tuple(entries))

    def to_bytes(self) -> bytes:
        """Return the RFC 8785 form, at most 1 MiB.

        Raises:
            IonError: ``bad-manifest`` when the model has too many files for one manifest.
        """
        files = [{"path": entry.path, "sha256": entry.sha256, "size": entry.size} for entry in self.entries]
        data = canonical_bytes({"files": files, "format": FORMAT})
        if len(data) > MAX_BYTES:
            raise IonError(_CODE, f"the manifest is larger than {MAX_BYTES} bytes", "pack the model into fewer files")
        return data

    @property
    def digest(self) -> str:
        """The model version: ``sha256:<hex>`` of `to_bytes`."""
        return digest_bytes(self.to_bytes())


def _entry(value: object) -> Entry:
    fields = Fields.of(value, "manifest file", _CODE)
    entry = Entry(fields.text("path"), fields.integer("size"), fields.digest("sha256"))
    fields.done()
    return entry


def _check_path(path: str) -> None:
    parts = path.split("/")  # an absolute path, a trailing and a double slash all give an empty part
    ambiguous = any(part in {"", ".", ".."} for part in parts)
    foreign = "\\" in path or ":" in path or any(unicodedata.category(char)[0] == "C" for char in path)
    if ambiguous or foreign or len(path) > MAX_PATH or unicodedata.normalize("NFC", path) != path:
        raise IonError(_CODE, f"path not allowed in a model: {path!r}"[:200], "use relative paths with forward slashes")
