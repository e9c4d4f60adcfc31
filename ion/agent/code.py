"""The state of the code: commit, whether it was committed, and a digest that needs no git."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

from ion.canonical import digest_json
from ion.errors import IonError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_SECONDS = 20
_HEAD = "# branch.oid "
_OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"})


def code_state(project: Path, folders: tuple[str, ...]) -> dict[str, object]:
    """Return what identifies the Python sources in ``folders`` of ``project``.

    Keys: ``source_digest`` (over sorted relative paths and contents), ``folders``, ``files``
    (count), ``git``, and with git ``commit`` and ``dirty`` (true when a source is not as committed).
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
