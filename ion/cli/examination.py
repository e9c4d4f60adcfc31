"""The examination of a machine: what is needed to run everything, and what only some of it needs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ion.errors import IonError
from ion.home import Home

_JAVA = 17
_DISK_GB = 3
_PORTS = {3000: ("Dagster and the governance page", "--port"), 5000: ("MLflow's page", "--mlflow-port")}
_PACKAGES = ("dagster", "dagster-webserver", "pyspark", "mlflow", "great-expectations", "sqlalchemy")
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, whether that will do, whether it must, and what to do."""

    name: str
    ok: bool
    needed: bool
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything, in the order in which it is needed."""
    home = Home.find()
    return [
        _python(),
        _java(),
        _uv(),
        *(_package(name) for name in _PACKAGES),
        _flink(),
        _home(home),
        _disk(home),
        *(_port(port) for port in _PORTS),
        _program("chromium", "the tests of the pages use it"),
        _program("strace", "a test of what is written to disk uses it"),
        _program("faketime", "the tests of clocks that jump use it"),
    ]


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    advice = "use Python 3.11 or 3.12: PyFlink has no build for others"
    return Finding("Python", ok, needed=True, found=platform.python_version(), advice=advice)


def _java() -> Finding:
    java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else "java"  # noqa: PTH118
    advice = f"install a Java runtime of version {_JAVA} or later (Debian: apt-get install openjdk-17-jre-headless)"
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_SECONDS, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return Finding("Java", ok=False, needed=True, found="none; Spark and Flink need it", advice=advice)
    number = java_version(told)
    return Finding("Java", number >= _JAVA, needed=True, found=str(number or told.strip()[:60]), advice=advice)


def java_version(told: str) -> int:
    """Return the major version in what ``java -version`` says; 0 when it says none."""
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found[1]) if found else 0


def _uv() -> Finding:
    own = Path(".uv")
    found = str(own) if own.is_dir() else shutil.which("uv") or ""
    advice = "`make setup` brings it into the project's own folder"
    return Finding("uv", bool(found), needed=False, found=found or "none; it makes the environments", advice=advice)


def _package(name: str) -> Finding:
    try:
        return Finding(name, ok=True, needed=True, found=version(name))
    except PackageNotFoundError:
        advice = "`make setup`, or pip install 'dagster-ion[all]'"
        return Finding(name, ok=False, needed=True, found="not installed here", advice=advice)


def _flink() -> Finding:
    python = Path(".venv-flink/bin/python")
    advice = "`make setup` makes it from requirements/flink.txt; PyFlink cannot share this environment"
    found = str(python.parent.parent) if python.exists() else "no environment .venv-flink in this folder"
    return Finding("Flink", python.exists(), needed=False, found=found, advice=advice)


def _home(home: Home) -> Finding:
    if home.hand:
        usable = os.access(home.spool, os.W_OK | os.X_OK)
        found = f"{home.spool}, handed over" if usable else f"{home.spool} is not there for this user"
        return Finding("state", usable, needed=True, found=found, advice="`ion doctor --hands` says more")
    if home.server_url:
        return _server(home.server_url)
    database = home.root / "store.db"
    if home.store_url == f"sqlite:///{database}" and not database.exists():
        usable = not home.root.exists() or (home.root.is_dir() and os.access(home.root, os.W_OK | os.X_OK))
        found = f"{home.root}, " + ("nothing recorded yet" if usable else "not usable as a state folder")
        return Finding("state", usable, needed=True, found=found, advice="set ION_HOME to a folder of your own")
    from ion.store import open_store

    try:
        store = open_store(home.store_url)
    except IonError as error:
        return Finding("state", ok=False, needed=True, found=error.message, advice=error.hint)
    try:
        return Finding("state", ok=True, needed=True, found=f"{home.root}, {store.head().position} facts")
    finally:
        store.close()


def _server(url: str) -> Finding:
    from ion.agent.remote import RemoteReceiver

    try:
        receiver = RemoteReceiver.of(url)
        try:
            found = f"{url}, {receiver.head()} facts"
        finally:
            receiver.close()
    except IonError as error:
        return Finding("server", ok=False, needed=True, found=error.message, advice=error.hint)
    return Finding("server", ok=True, needed=True, found=found)


def _disk(home: Home) -> Finding:
    folder = home.root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    advice = "the environments take about 3 GB, a demo 0.1 GB"
    return Finding("disk", free >= _DISK_GB, needed=True, found=f"{free:.0f} GB free", advice=advice)


def _port(port: int) -> Finding:
    use, option = _PORTS[port]
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            advice = f"fine if that is your own deployment; else `ion up {option}` with another number"
            return Finding(f"port {port}", ok=False, needed=False, found=f"taken ({error.strerror})", advice=advice)
    return Finding(f"port {port}", ok=True, needed=False, found=f"free, for {use}")


def _program(name: str, use: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, bool(found), needed=False, found=found or f"none; {use}", advice=f"apt-get install {name}")
