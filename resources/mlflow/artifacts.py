"""The files behind a registered version, compared with the manifest that was recorded.

In a local folder they are looked at every time (size, times, inode) and read when that changed; elsewhere they
are listed and fetched. A large model is read less often, so that this costs a hundredth of a core.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ion.errors import IonError
from ion.evidence.files import MIB, opened_beneath
from resources.mlflow.server import reaching

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    from ion.evidence import Entry, Manifest

AGAIN_SECONDS = 60.0
"""Unchanged local files are read again after this."""
_LOOK_SECONDS = 4.0
_SHARE = 100.0
_ELSEWHERE = {"mlflow-artifacts", "s3", "gs", "wasbs", "abfss", "hdfs", "dbfs"}
"""Where files are fetched from. Never from a plain address: whoever can write the registry could name any."""


@dataclass(slots=True)
class _Reading:
    signature: object
    at: float
    took: float
    problem: str


class ArtifactWatch:
    """Compares files with manifests, and remembers what it has read. Not for two threads at once.

    Args:
        tracking_uri: of the MLflow that holds the versions.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._read: dict[tuple[str, str], _Reading] = {}

    def problem(self, source: str, manifest: Manifest, *, again: bool = False) -> str | None:
        """Return how the files at ``source`` differ, ``""`` when they do not, None when that cannot be seen from here.

        ``again``: read them, whatever was read lately.

        Raises:
            IonError: ``mlflow-unreachable``, ``mlflow-refused`` when files elsewhere are not given.
            OSError: local files cannot be read.
        """
        parts = urlsplit(source)
        if parts.scheme in {"", "file"}:
            folder = Path(unquote(parts.path))
            if not folder.is_absolute() or (not folder.is_dir() and not self._is_near()):
                return None
            look, rest = (lambda: _local_problem(folder, manifest)), AGAIN_SECONDS
            found = _walk(folder, len(manifest.entries))
            signature: object = found
        elif parts.scheme in _ELSEWHERE and self._may_fetch(parts.scheme, parts.netloc):
            look, rest = (lambda: self._fetched_problem(source, manifest)), _LOOK_SECONDS
            signature = None
        else:
            return None
        key = (source, manifest.digest)
        known = self._read.get(key)
        now = time.monotonic()
        fresh = known is not None and known.signature == signature and now - known.at < max(rest, _SHARE * known.took)
        if known is None or not fresh or again:
            problem = look()
            self._read[key] = known = _Reading(signature, now, time.monotonic() - now, problem)
        return known.problem

    def _is_near(self) -> bool:
        """Return whether MLflow keeps its files on this machine: then what is missing here is missing."""
        return not self._uri.startswith("http") or urlsplit(self._uri).hostname in {"127.0.0.1", "localhost", "::1"}

    def _may_fetch(self, scheme: str, host: str) -> bool:
        if scheme != "mlflow-artifacts":
            return True
        return self._uri.startswith("http") and host in {"", urlsplit(self._uri).netloc.rpartition("@")[2]}

    def _fetched_problem(self, source: str, manifest: Manifest) -> str:
        with reaching(self._uri), tempfile.TemporaryDirectory(prefix="ion-mirror-") as folder:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            repository = get_artifact_repository(source, tracking_uri=self._uri)
            listed = _listed(repository, len(manifest.entries))
            problem = _names_problem(manifest, listed)
            if problem:
                return problem
            for entry in manifest.entries:
                found = repository.download_artifacts(entry.path, folder)
                problem = _file_problem(Path(folder), Path(found), entry)
                if problem:
                    return problem
        return ""


def _listed(repository: ArtifactRepository, files: int) -> dict[str, int | None]:
    """Return path → size (None: not told) of at most a few more than ``files`` files."""
    found: dict[str, int | None] = {}
    waiting, asked = [""], 0
    while waiting and len(found) <= files and asked <= 2 * files:
        asked += 1
        for item in repository.list_artifacts(waiting.pop() or None):
            if item.is_dir:
                waiting.append(item.path)
            else:
                found[item.path] = item.file_size
    return found


def _walk(folder: Path, files: int) -> tuple[tuple[str, int, int, int, int], ...]:
    """Return (path, size, mtime, ctime, inode) of what is in a folder, of a few more than ``files`` at most.

    What is no regular file has size -1.
    """
    found: list[tuple[str, int, int, int, int]] = []
    waiting, seen = [folder], 0
    while waiting and len(found) <= files and seen <= 8 * files + 64:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda item: item.name)
        except FileNotFoundError:
            continue
        for entry in entries[: 8 * files + 64]:
            seen += 1
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(Path(entry.path))
                continue
            size = status.st_size if stat.S_ISREG(status.st_mode) else -1
            path = Path(entry.path).relative_to(folder).as_posix()
            found.append((path, size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return tuple(found)


def _local_problem(folder: Path, manifest: Manifest) -> str:
    present: dict[str, int | None] = {path: size for path, size, *_ in _walk(folder, len(manifest.entries))}
    problem = _names_problem(manifest, present)
    problems = (_file_problem(folder, folder / entry.path, entry) for entry in manifest.entries)
    return problem or next((each for each in problems if each), "")


def _names_problem(manifest: Manifest, present: dict[str, int | None]) -> str:
    """Return what the names and sizes alone show to differ."""
    for entry in manifest.entries:
        size = present.get(entry.path, -2)
        if size == -2:  # noqa: PLR2004 - no size
            return f"{entry.path} is missing"
        if size is not None and size != entry.size:
            return f"{entry.path} has {size} bytes, not {entry.size}" if size >= 0 else f"{entry.path} is no file"
    surplus = sorted(set(present) - {entry.path for entry in manifest.entries})
    return f"{ascii(surplus[0])[1:-1]:.100} was added" if surplus else ""


def _file_problem(root: Path, path: Path, entry: Entry) -> str:
    """Return how a file's bytes differ; no symbolic link is followed."""
    hashed, left = hashlib.sha256(), entry.size + 1
    try:
        with opened_beneath(root, path) as file:
            while left > 0 and (chunk := file.read(min(4 * MIB, left))):
                hashed.update(chunk)
                left -= len(chunk)
    except FileNotFoundError:
        return f"{entry.path} is missing"
    except IonError:
        return f"{entry.path} is no file"
    found = f"sha256:{hashed.hexdigest()}"
    return "" if left == 1 and found == entry.sha256 else f"{entry.path} is {found[:19]}, not {entry.sha256[:19]}"
