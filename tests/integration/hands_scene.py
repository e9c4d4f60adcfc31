"""A deployment whose users are other users: folders as the documentation makes them, programs under their ids."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.docs.blocks import marked

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = "docs/how-to/separate-hands.md"
PROGRAMS = Path(__file__).with_name("hands_programs.py")
IDS = {"ion": 61700, "ion-governance": 61701, "ion-training": 61702, "ion-serving": 61703, "ion-dagster": 61704}
GROUPS = {
    "ion-governance": ["ion", "ion-training", "ion-serving"],
    "ion-training": ["ion"],
    "ion-serving": ["ion"],
    "ion-dagster": ["ion"],
}
_UMASK = 0o002
# The users need no entry in /etc/passwd: `install` is given their numbers.
_INSTALL = """
declare -A id=(%s)
install() {
  local words=()
  while (($#)); do
    case $1 in -o|-g) words+=("$1" "${id[$2]}"); shift 2;; *) words+=("$1"); shift;; esac
  done
  command install "${words[@]}"
}
"""


@dataclass(frozen=True)
class Deployment:
    """State folder, project and interpreter that other users can reach."""

    folder: Path
    python: Path

    @property
    def root(self) -> Path:
        return self.folder / "ion"

    @classmethod
    def make(cls, database: str) -> Deployment:
        """Make the folders by the script of the documentation. As root only.

        ``database`` is the URL of one for Dagster: an SQLite file is not written by several users.
        """
        folder = Path(tempfile.mkdtemp(prefix="ion-hands-"))
        folder.chmod(0o755)
        made = cls(folder, _reachable_python(folder))
        shutil.copytree(CHECKOUT / "tests" / "dagster" / "project", folder / "project")
        numbers = _INSTALL % " ".join(f"[{name}]={number}" for name, number in IDS.items())
        script = marked(PAGE, "run", "folders").replace("root=/var/lib/ion", f"root={made.root}")
        subprocess.run(["bash", "-euc", numbers + script], check=True)
        made._serve_dagsters_database(database)
        return made

    def _serve_dagsters_database(self, database: str) -> None:
        """Let the group reach the server's socket, and no other user of this machine."""
        url = urlsplit(database)
        (host,) = parse_qs(url.query)["host"]
        door = self.folder / "postgres"
        door.mkdir(mode=0o750)
        os.chown(door, 0, IDS["ion"])
        for socket in Path(host).glob(".s.PGSQL.*[0-9]"):
            os.link(socket, door / socket.name)
        address = f"postgresql+psycopg2://postgres@{url.path}?host={door}"
        files = {"base_dir": str(self.root / "dagster")}
        local = {
            "local_artifact_storage": ("dagster._core.storage.root", "LocalArtifactStorage"),
            "compute_logs": ("dagster._core.storage.local_compute_log_manager", "LocalComputeLogManager"),
        }
        settings = {
            "storage": {"postgres": {"postgres_url": address}},
            **{name: {"module": module, "class": kind, "config": files} for name, (module, kind) in local.items()},
            "telemetry": {"enabled": False},
        }
        (self.folder / "settings").mkdir()
        (self.folder / "settings" / "dagster.yaml").write_text(json.dumps(settings))

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def start(self, user: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a program of ``hands_programs.py`` as a user."""
        return self.spawn(user, str(PROGRAMS), *arguments, **environment)

    def spawn(self, user: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start Python as a user, in the groups of the documentation."""
        hand = {"ION_STORE_URL": f"spool:{user}"} if user in {"ion-training", "ion-serving"} else {}
        private = self.folder / f"tmp-{user}"
        if not private.exists():
            private.mkdir(mode=0o700)
            os.chown(private, IDS[user], IDS[user])
        installed = [path for path in sys.path if "site-packages" in path]
        packages = [str(self.folder / "project"), str(CHECKOUT), *installed]
        return subprocess.Popen(
            [str(self.python), *arguments],
            user=IDS[user],
            group=IDS[user],
            extra_groups=[IDS[name] for name in GROUPS[user]],
            umask=_UMASK,
            cwd=self.folder / "project",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(packages),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LD_LIBRARY_PATH": str(self.python.parents[1] / "lib"),  # an interpreter that was copied
                "ION_HOME": str(self.root),
                "DAGSTER_HOME": str(self.folder / "settings"),
                "HOME": str(private),
                "TMPDIR": str(private),
                "USER": user,
                **hand,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, user: str, *arguments: str, **environment: str) -> dict[str, object]:
        """Run a program of ``hands_programs.py`` as a user; returns what it answered."""
        return answer(self.start(user, *arguments, **environment))


def answer(process: subprocess.Popen[str]) -> dict[str, object]:
    """Wait for a program; returns what it answered."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-3000:]
    found = json.loads(out.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    """Wait until a program made a file."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, answer(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _reachable_python(folder: Path) -> Path:
    """Return an interpreter other users may start: this one, or a copy where it is in somebody's own folder."""
    own = Path(sys.executable)
    try:
        user = IDS["ion-training"]
        subprocess.run([own, "-c", ""], user=user, group=user, extra_groups=[], check=True)
    except (OSError, subprocess.CalledProcessError):
        copy = folder / "python"
        ignored = shutil.ignore_patterns("site-packages", "test", "idlelib", "share", "include")
        shutil.copytree(sys.base_prefix, copy, symlinks=True, ignore=ignored, copy_function=_linked)
        return copy / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return own


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target
