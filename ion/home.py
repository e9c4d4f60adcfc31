"""Where one deployment keeps its state: ``$ION_HOME``, by default ``.ion`` in the working folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ion.errors import IonError


@dataclass(frozen=True, slots=True)
class Home:
    """The folders under one state root. Nothing is made until it is used."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """Return the home named by ``ION_HOME``, else ``./.ion``."""
        return cls(Path(os.environ.get("ION_HOME") or ".ion").resolve())

    @property
    def store_url(self) -> str:
        """``ION_STORE_URL``, by default SQLite under the root."""
        return os.environ.get("ION_STORE_URL") or f"sqlite:///{self.root / 'store.db'}"

    @property
    def spool(self) -> Path:
        """One folder per agent; see `ion.agent.spool`."""
        return self.root / "spool"

    @property
    def artifacts(self) -> Path:
        """Content-addressed model files, manifests, decisions and datasets."""
        return self.root / "artifacts"

    @property
    def keys(self) -> Path:
        """Private keys, owner only."""
        return self.root / "keys"

    @property
    def decision_key_uri(self) -> str:
        """``ION_DECISION_KEY`` (a signer URI), by default a file under `keys`."""
        return os.environ.get("ION_DECISION_KEY") or f"file:{self.keys / 'decision.pem'}"

    @property
    def ledger_key_uri(self) -> str:
        """``ION_LEDGER_KEY`` (a signer URI), by default a file under `keys`."""
        return os.environ.get("ION_LEDGER_KEY") or f"file:{self.keys / 'ledger.pem'}"

    @property
    def trust_document(self) -> Path:
        """Whose signatures count: signed by the root."""
        return self.root / "trust" / "trust.json"

    @property
    def root_public(self) -> Path:
        """The public half of the root key, ``ION_TRUST_ROOT`` or beside the trust document."""
        named = os.environ.get("ION_TRUST_ROOT")
        return Path(named).resolve() if named else self.root / "trust" / "root.pub.pem"

    @property
    def mlflow_url(self) -> str:
        """``MLFLOW_TRACKING_URI``, by default SQLite under the root."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"

    def make(self) -> Home:
        """Make the root and return self.

        Raises:
            IonError: ``home-unusable`` when it is a file, or cannot be written.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise IonError(
                "home-unusable",
                f"cannot use {self.root} as state folder: {error.strerror}",
                "set ION_HOME to a folder of your own, or mend its permissions",
            ) from error
        return self


def web_url() -> str:
    """Return where links to the governance page point: ``ION_WEB_URL``, by default as `ion up` serves it."""
    return (os.environ.get("ION_WEB_URL") or "http://127.0.0.1:3000/ion").rstrip("/")
