"""Capture keys on their way to the store: beside an agent's spool, in a file that goes when it is handed over.

They travel apart from the facts. The store forgets a key when it is erased; a spool, a bundle or a backup
of facts never holds one. A key is durable here before anything is sealed with it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ion.agent.files import open_within, sync_folder
from ion.errors import IonError
from ion.evidence.captures import CaptureKey
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ion.agent.client import Client

_FILE = "keys"
_TAKEN = "keys-taken-"
_PATIENCE_SECONDS = 10.0
_MOST_BYTES = 64 * 1024 * 1024


class KeyReceiver(Protocol):
    """What handing over needs of a store."""

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> object:
        """Keep keys, but never one that was erased; keeping a key again changes nothing."""


class KeyDrop:
    """Where the keys of one client's facts wait for the store."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def place(self) -> str:
        """Which agent carries the keys: another one when the client's spool was removed under it."""
        return self._client.agent

    def put(self, keys: Sequence[CaptureKey]) -> None:
        """Make keys durable; from here on facts may name them.

        Raises:
            IonError: ``spool-unusable``.
        """
        # Each line begins with a line end: the one before may have been cut short by a full disk.
        lines = "".join(f"\n{json.dumps([key.key_id, key.secret.hex(), key.subject])}" for key in keys) + "\n"
        path = self._client.home.spool / self.place / _FILE
        try:
            handle = _opened_alone(path, _PATIENCE_SECONDS)
            try:
                written = os.write(handle, lines.encode())
                os.fsync(handle)
                sync_folder(path.parent)
            finally:
                os.close(handle)
        except OSError as error:
            self._client.flush()  # which notices when the folder was removed: the next key goes elsewhere
            raise IonError("spool-unusable", f"cannot keep a capture key: {error.strerror}") from error
        if written != len(lines):
            raise IonError("spool-unusable", "cannot keep a capture key: the disk is full", "free disk space")


def hand_over_keys(folder: Path, receiver: KeyReceiver, patience: float = _PATIENCE_SECONDS) -> int:
    """Give the store the keys that wait beside a spool, and remove them here; returns how many.

    One shipper at a time, before it ships the facts that name them. A line that was cut short belongs
    to a key that nothing was sealed with.

    Raises:
        OSError: a file is not the owner's, or too large; `BlockingIOError` when the writer holds it for longer
            than ``patience`` seconds.
    """
    waiting = folder / _FILE
    if waiting.exists():
        handle = _opened_alone(waiting, patience)
        try:
            waiting.rename(folder / f"{_TAKEN}{new_id()}")  # what is put from here on waits in a new file
        finally:
            os.close(handle)
    count = 0
    for taken in sorted(folder.glob(f"{_TAKEN}*")):
        keys = _read(_content(folder, taken.name))
        receiver.keep_capture_keys(keys)
        taken.unlink()
        count += len(keys)
    return count


def _opened_alone(path: Path, patience: float) -> int:
    """Open the file at ``path``, made if need be, and wait until nobody else has it."""
    deadline = time.monotonic() + patience
    while True:
        handle = open_within(path.parent, path.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with suppress(FileNotFoundError, BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.lstat().st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)  # it was taken meanwhile, or somebody else has it
        if time.monotonic() > deadline:
            raise BlockingIOError(errno.EAGAIN, "somebody else keeps it locked")
        time.sleep(0.001)


def _content(folder: Path, name: str) -> bytes:
    with os.fdopen(open_within(folder, name), "rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise OSError(errno.EFBIG, "more keys than anybody needs")
    return data


def _read(data: bytes) -> list[CaptureKey]:
    keys = []
    for line in data.splitlines():
        with suppress(ValueError, TypeError, RecursionError, IonError):
            key_id, secret, subject = json.loads(line)
            keys.append(CaptureKey(key_id, bytes.fromhex(secret), subject))
    return keys
