"""The state of the code: commit, whether it was committed, and a digest that needs no git."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ion.canonical import digest_bytes, digest_json
from ion.errors import IonError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "requirements/main.txt"

_TIMEOUT_SECONDS = 20
_SCP = re.compile(r"(?:[^@/:]+@)?([^@/:]+):(?!/)(.+)\Z")  # user@host:path, as git takes it
_HEAD = "# branch.oid "
_OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"})


def code_state(project: Path, folders: tuple[str, ...]) -> dict[str, object]:
    """Return what identifies the Python sources in ``folders`` of ``project``.

    Keys: ``source_digest`` (over sorted relative paths and contents), ``folders``, ``files``
    (count), ``lock`` (of ``requirements/main.txt``, where there is one), ``git``, and with git ``commit``,
    ``dirty`` (true when a source is not as committed), ``author`` (e-mail address of the commit's) and ``remote``
    (where it is published, if it is).
    A repository that git cannot be asked about (not installed, not trusted, too slow) counts as dirty.
    """
    sources = {
        str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted((project / folder).rglob("*.py"))
    }
    state: dict[str, object] = {
        "source_digest": digest_json(sources),
        "folders": list(folders),
        "files": len(sources),
    }
    lock = _lock_digest(project)
    if lock:
        state["lock"] = lock
    pathspecs = [f"{folder}/*.py" for folder in folders]
    told = _git(project, "status", "--porcelain=v2", "--branch", "--untracked-files=all", "--ignored", "--", *pathspecs)
    beside = any((folder / ".git").exists() for folder in (project, *project.absolute().parents))
    state["git"] = told is not None or beside
    if state["git"]:
        lines = (told or "").splitlines()
        heads = [line.removeprefix(_HEAD) for line in lines if line.startswith(_HEAD)]
        commit = "".join(head for head in heads if head != "(initial)")
        changed = any(not line.startswith("#") for line in lines)
        state |= {"commit": commit, "dirty": not commit or changed}
        remote = published(_git(project, "config", "--get", "remote.origin.url") or "")
        if remote:
            state["remote"] = remote
        author = (_git(project, "log", "-1", "--format=%ae") or "").strip()
        if author:
            state["author"] = author
    return state


def project_of(file: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the project folder of a source file and the folders that make its code location.

    The project folder holds the file's top-level package; the folders are that package and, where
    they stand beside it, ``policies`` and ``resources``.

    Raises:
        IonError: ``no-source`` when the file is not there.
    """
    if not file.is_file():
        raise IonError("no-source", f"the source file {file.name} is not there")
    package = file.resolve().parent
    while (package.parent / "__init__.py").is_file():
        package = package.parent
    beside = [name for name in ("policies", "resources") if (package.parent / name).is_dir()]
    return package.parent, tuple(sorted({package.name, *beside}))


def published(remote: str) -> str:
    """Return a git remote as a URL without user, password and query; empty for a path on this machine."""
    scp = _SCP.match(remote)
    try:
        parts = urlsplit(f"ssh://{scp[1]}/{scp[2]}" if scp else remote)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https", "ssh", "git"} or not parts.hostname:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _lock_digest(project: Path) -> str:
    """Return the digest of the lock file the project is installed from; empty when it has none of its own."""
    try:
        return digest_bytes((project / LOCK).read_bytes())
    except OSError:
        return ""


def _git(project: Path, *arguments: str) -> str | None:
    # A hook's variables speak of the repository it runs in, which need not be the project's.
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],  # noqa: S607 - git from the path
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
