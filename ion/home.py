"""Where one deployment keeps its state: ``$ION_HOME``, by default ``.ion`` in the working folder.

Where governance has a user of its own, other users (hands) keep what they write under ``hands/<name>``
and never open the store: docs/how-to/separate-hands.md.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ion.errors import IonError
from ion.values import dataclass

HAND_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
_HANDED_OVER = "spool:"
_SERVERS = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class Home:
    """The folders under one state root. Nothing is made until it is used."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """Return the home named by ``ION_HOME``, else ``./.ion``."""
        return cls(Path(os.environ.get("ION_HOME") or ".ion").resolve())

    @property
    def hand(self) -> str:
        """Under which name this process hands its facts over (``ION_STORE_URL=spool:NAME``); empty where it does not.

        Raises:
            IonError: ``bad-store-url`` when that is not a name.
        """
        url = os.environ.get("ION_STORE_URL", "")
        if not url.startswith(_HANDED_OVER):
            return ""
        name = url.removeprefix(_HANDED_OVER)
        if not HAND_NAME.match(name):
            hint = "write spool: and the name of a folder under hands/, e.g. spool:ion-training"
            raise IonError("bad-store-url", f"not a name to hand facts over under: {name!r}", hint)
        return name

    @property
    def server_url(self) -> str:
        """The server that this process reports to (``ION_STORE_URL=https://…``); empty where it opens the store."""
        url = os.environ.get("ION_STORE_URL", "")
        return url if url.startswith(_SERVERS) else ""

    @property
    def store_url(self) -> str:
        """``ION_STORE_URL``, by default SQLite under the root.

        Raises:
            IonError: ``store-elsewhere`` where this process hands its facts over, or reports to a server,
                and opens no store.
        """
        if self.server_url:
            raise IonError(
                "store-elsewhere",
                f"this process reports to {self.server_url}; it does not open the governance store",
                "do this where the store is, or ask the server",
            )
        if self.hand:
            raise IonError(
                "store-elsewhere",
                f"this process hands its facts over as {self.hand}; it does not open the governance store",
                "do this as governance's user; what is known is on the governance page",
            )
        return os.environ.get("ION_STORE_URL") or f"sqlite:///{self.root / 'store.db'}"

    @property
    def hands(self) -> Path:
        """One folder per hand, each of another user; see `ion.agent.hands`."""
        return self.root / "hands"

    @property
    def own(self) -> Path:
        """Where this process may write: the root, or the folder of its hand."""
        return self.hands / self.hand if self.hand else self.root

    @property
    def spool(self) -> Path:
        """One folder per agent; see `ion.agent.spool`."""
        return self.own / "spool"

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
    def checkpoints(self) -> Path:
        """Signed heads of the ledger, one file each: copies of them belong on other machines."""
        return self.root / "checkpoints"

    @property
    def retention(self) -> Path:
        """How long bodies must be kept at least, where the defaults do not fit; see `ion.store.floors`."""
        return self.root / "retention.toml"

    @property
    def mlflow_url(self) -> str:
        """``MLFLOW_TRACKING_URI``, by default SQLite where this process may write."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.own / 'mlflow.db'}"

    def make(self) -> Home:
        """Make the root and return self. The folder of a hand is not made here: it must be there already.

        Raises:
            IonError: ``home-unusable`` when it is a file, or cannot be written.
        """
        hint = "set ION_HOME to a folder of your own, or mend its permissions"
        try:
            if self.hand:
                hint = f"governance makes hands/{self.hand} for this user; `ion doctor --hands` looks at it"
            else:
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.own / ".writable"
            probe.touch()
            probe.unlink(missing_ok=True)
        except OSError as error:
            problem = f"cannot use {self.own} as state folder: {error.strerror}"
            raise IonError("home-unusable", problem, hint) from error
        return self


def web_url() -> str:
    """Return where links to the governance page point: ``ION_WEB_URL``, by default as `ion up` serves it."""
    return (os.environ.get("ION_WEB_URL") or "http://127.0.0.1:3000/ion").rstrip("/")
