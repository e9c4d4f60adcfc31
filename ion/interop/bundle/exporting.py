"""Writing a bundle: whole or not at all, and never over something else."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.files import write_new
from ion.interop.bundle import layout
from ion.interop.bundle.folder import model_problems, read_folder
from ion.interop.bundle.gathering import gather
from ion.interop.bundle.verifying import verify_bundle

if TYPE_CHECKING:
    from ion.home import Home
    from ion.interop.bundle.gathering import Gathered
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written; ``new`` is false when exactly it was there already."""

    folder: Path
    model: str
    node: str
    decision: str
    files: int
    new: bool

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "folder": str(self.folder),
            "model": self.model,
            "node": self.node,
            "decision": self.decision,
            "files": self.files,
            "new": self.new,
        }


def export_bundle(store: GovernanceStore, home: Home, model: str, folder: Path, *, node: str = "") -> Exported:
    """Write the evidence on ``model`` to ``folder``; the same state gives the same bytes.

    Args:
        store: of the deployment.
        home: its artifacts, keys and trust document.
        model: model version.
        folder: made; when it is there it must be this very bundle.
        node: ``ion/node``; may be left out where the model was decided for one node only.

    Raises:
        IonError: as `ion.interop.bundle.gathering.gather`; ``bundle-exists`` when something else is there,
            ``bundle-unsound`` when what would be written does not verify, ``cannot-write``.
    """
    gathered = gather(store, home, model, node)
    new = not os.path.lexists(folder)
    if not new and not _is(folder, gathered):
        raise IonError("bundle-exists", f"there is something else at {folder}", "name a folder that is not there yet")
    if new:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write(folder, gathered, ArtifactStore(home.artifacts))
        except OSError as error:
            raise IonError("cannot-write", f"cannot write {folder}: {error.strerror}", "name another") from error
    decision = gathered.decision
    count = len(gathered.files) + len(gathered.manifest.entries)
    return Exported(folder, model, decision.node, decision.envelope_digest, count, new)


def _write(folder: Path, gathered: Gathered, artifacts: ArtifactStore) -> None:
    """Write beside the folder, verify, and rename."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for path, data in gathered.files.items():
            _put(temporary / path, data)
        for entry in gathered.manifest.entries:
            _put(temporary / layout.MODEL / entry.path, artifacts.get(entry.sha256, limit=entry.size))
        temporary.chmod(0o755)
        checked = verify_bundle(temporary, standards=False)
        if not checked.valid_then:  # that it holds no longer is for the reader to see
            problems = [f"{p.file}: {p.message}" for step in checked.steps[:-1] for p in step.problems]
            raise IonError("bundle-unsound", "; ".join(problems)[:500], "`ion audit verify` says more")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_new(path, data, mode=0o644)


def _is(folder: Path, gathered: Gathered) -> bool:
    """Say whether the folder is the bundle that would be written."""
    try:
        found = read_folder(folder)
    except IonError:
        return False
    if found.problems or dict(found.files) != gathered.files:
        return False
    return not model_problems(folder, found.model, gathered.manifest)
