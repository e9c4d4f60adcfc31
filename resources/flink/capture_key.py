"""The key that seals captured rows of a host's engines; the store keeps it too, until it is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ion.serving import CaptureKey

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home


class KeyKeeper(Protocol):
    """What keeps capture keys: the governance store."""

    def keep_capture_key(self, key: str, secret: bytes) -> None:
        """Keep a key; keeping it again changes nothing."""


def capture_key_path(home: Home) -> Path:
    """Return where this host's capture key is."""
    return home.keys / "capture.json"


def ensure_capture_key(home: Home, keeper: KeyKeeper) -> CaptureKey:
    """Return this host's capture key, made on first use, after the store has it: no row is sealed for nobody.

    Raises:
        IonError: the key file is damaged or readable by others.
    """
    path = capture_key_path(home)
    if not path.exists():
        CaptureKey.generate().write(path)
    key = CaptureKey.read(path)
    keeper.keep_capture_key(key.key_id, key.secret)
    return key
