"""Where a person's own keys are: one folder, for that user only, never part of a deployment's state."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from ion.errors import IonError
from ion.evidence.keys import PublicKey, create_key, load_public, write_public

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_TAKEN = ("decision", "ledger", "root", "model")
"""What a deployment calls its own keys: `ion keys rotate decision` must mean one thing."""
_PRIVATE, _PUBLIC = ".pem", ".pub.pem"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Keys as ``NAME.pem`` (0600) and ``NAME.pub.pem``."""

    path: Path

    @classmethod
    def find(cls) -> KeyFolder:
        """Return ``ION_KEYS``, else ``ion/keys`` where this user's configuration is (XDG base directories)."""
        named = os.environ.get("ION_KEYS")
        configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        return cls(Path(named or configuration / "ion" / "keys").resolve())

    def private(self, name: str) -> Path:
        """Return where the private key of a name is.

        Raises:
            IonError: ``bad-key-name``.
        """
        if not _NAME.match(name) or name in _TAKEN or name.endswith((_PRIVATE, ".pub")):
            hint = f"letters, digits, '.', '_' and '-', at most 64; not {', '.join(_TAKEN)}"
            raise IonError("bad-key-name", f"a key cannot be called {name!r}", hint)
        return self.path / f"{name}{_PRIVATE}"

    def public(self, name: str) -> PublicKey:
        """Return the public key of a name.

        Raises:
            IonError: ``bad-key-name``, ``key-missing`` or ``bad-key``.
        """
        return load_public(public_path(self.private(name)))

    def names(self) -> list[str]:
        """Return the names of the keys that are here, sorted."""
        found = (path.name.removesuffix(_PRIVATE) for path in self.path.glob(f"*{_PRIVATE}"))
        return sorted(name for name in found if not name.endswith(".pub") and _NAME.match(name))

    def uri(self, named: str = "") -> str:
        """Return the signer URI of what a person named: a URI, the path of a key file, or a key of this folder.

        Without a name ``ION_KEY`` says so, else the only key that is here.

        Raises:
            IonError: ``which-key`` when there is none or more than one, ``key-missing``, ``bad-key-name``.
        """
        named = named or os.environ.get("ION_KEY", "")
        if not named:
            return file_uri(self.private(self._only()))
        if urlsplit(named).scheme:
            return named
        path = Path(named)
        if path.is_file():
            return file_uri(path)
        if path.name != named or not self.private(named).is_file():
            have = ", ".join(self.names()) or "none"
            raise IonError("key-missing", f"there is no key {named!r} in {self.path}", f"there are: {have}")
        return file_uri(self.private(named))

    def _only(self) -> str:
        names = self.names()
        if len(names) == 1:
            return names[0]
        found = f"{len(names)} keys ({', '.join(names)})" if names else "no key"
        hint = "name one with --key or ION_KEY" if names else "`ion keys new NAME` makes one"
        raise IonError("which-key", f"there is {found} in {self.path}", hint)


def make_key(path: Path, passphrase: str = "") -> PublicKey:
    """Make a key and write its public half beside it.

    Raises:
        IonError: ``key-exists``, ``key-unwritable``.
    """
    try:
        public = create_key(path, passphrase)
        write_public(public_path(path), public)
    except OSError as error:
        raise IonError("key-unwritable", f"cannot write the key {path}: {error.strerror}") from error
    return public


def public_path(private: Path) -> Path:
    """Return where the public half of a private key file is."""
    return private.with_name(private.name.removesuffix(_PRIVATE) + _PUBLIC)


def file_uri(path: Path) -> str:
    """Return the signer URI of a key file."""
    return f"file:{quote(str(path.resolve()))}"
