"""The files of a bundle, read once: each a regular file in its place, none larger than it may be."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.files import MIB, opened_beneath
from ion.interop.bundle.layout import MAX_DEPTH, MAX_FILES, MODEL, limit_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ion.evidence.manifest import Manifest

_CHUNK = 4 * MIB


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a folder.

    Args:
        files: path → content of every file but the model's.
        model: paths under ``model/`` as they are there, unread, relative to it.
        problems: (path, what is wrong with it); such files are not in ``files``.
    """

    files: Mapping[str, bytes] = field(repr=False)
    model: frozenset[str]
    problems: tuple[tuple[str, str], ...]


def read_folder(root: Path) -> Contents:
    """Read all but the model.

    Raises:
        IonError: ``no-bundle`` when there is no such folder.
    """
    problems: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    model: set[str] = set()
    for path in _walk(root, problems):
        limit = limit_of(path)
        if limit is None:
            problems.append((path, "no bundle has such a file"))
        elif path.startswith(MODEL):
            model.add(path.removeprefix(MODEL))
        else:
            try:
                with opened_beneath(root, root / path) as file:
                    data = file.read(limit + 1)
            except (OSError, IonError) as error:
                problems.append((path, _reason(error)))
                continue
            if len(data) > limit:
                problems.append((path, f"it is larger than {limit} bytes"))
            else:
                files[path] = data
    return Contents(files, frozenset(model), tuple(problems))


def model_problems(root: Path, found: frozenset[str], manifest: Manifest) -> list[tuple[str, str]]:
    """Read the model's files once, as far as the manifest says, and tell what is not as it says."""
    named = {entry.path for entry in manifest.entries}
    problems = [(MODEL + path, "the manifest does not name it") for path in sorted(found - named)]
    for entry in manifest.entries:
        path = MODEL + entry.path
        try:
            size, digest = _hashed(root, path, entry.size)
        except FileNotFoundError:
            problems.append((path, "the manifest names it, and it is not there"))
        except (OSError, IonError) as error:
            problems.append((path, _reason(error)))
        else:
            if (size, digest) != (entry.size, entry.sha256):
                problems.append((path, "it is not the file that the manifest names"))
    return problems


def _hashed(root: Path, path: str, size: int) -> tuple[int, str]:
    """Return size and digest of a file; of a larger one than ``size`` no more than one byte beyond is read."""
    digest, read = hashlib.sha256(), 0
    with opened_beneath(root, root / path) as file:
        while chunk := file.read(min(_CHUNK, size + 1 - read)):
            digest.update(chunk)
            read += len(chunk)
    return read, f"sha256:{digest.hexdigest()}"


def _walk(root: Path, problems: list[tuple[str, str]]) -> list[str]:
    """Return the paths of all regular files; whatever else is there is a problem."""
    found: list[str] = []
    waiting, seen = [""], 0
    while waiting:
        folder = waiting.pop()
        entries = _entries(root, folder, problems)
        seen += len(entries)
        if seen > MAX_FILES:
            problems.append((folder, f"there are more than {MAX_FILES} files and folders"))
            break
        for name, mode in entries:
            path = f"{folder}/{name}" if folder else name
            if stat.S_ISDIR(mode) and path.count("/") < MAX_DEPTH:
                waiting.append(path)
            elif stat.S_ISREG(mode):
                found.append(path)
            else:
                problems.append((path, "it is neither a regular file nor a folder"))
    return sorted(found)


def _entries(root: Path, folder: str, problems: list[tuple[str, str]]) -> list[tuple[str, int]]:
    """Return name and mode of what a folder holds, links not followed; at most one more than a bundle may hold."""
    try:
        with os.scandir(root / folder) as entries:
            found = [(each.name, each.stat(follow_symlinks=False).st_mode) for each in islice(entries, MAX_FILES + 1)]
    except OSError as error:
        if not folder:
            hint = "name the folder that `ion evidence export` made"
            raise IonError("no-bundle", f"cannot read {root}: {error.strerror}", hint) from error
        problems.append((folder, _reason(error)))
        return []
    if folder and not found:
        problems.append((folder, "an empty folder"))
    return sorted(found)


def _reason(error: OSError | IonError) -> str:
    return error.message if isinstance(error, IonError) else f"it cannot be read: {error.strerror}"
