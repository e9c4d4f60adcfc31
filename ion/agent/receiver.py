"""The store as a receiver that may be down when the program starts, and come back later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ion.agent.capture_keys import KeyReceiver
from ion.agent.remote import RemoteReceiver
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence.captures import CaptureKey
    from ion.records import Record
    from ion.store import GovernanceStore


class Receiver(KeyReceiver, Protocol):
    """What shipping needs of a store."""

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Take records idempotently."""


@runtime_checkable
class Remembering(Protocol):
    """A receiver that says up to where it has an agent's facts: a spool that was cut is noticed."""

    def acknowledged(self, agent: str) -> int | None:
        """Return the highest sequence number acknowledged to an agent, None for an unknown one."""


class StoreReceiver:
    """The governance store at a URL, opened as soon as it can be reached."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: GovernanceStore | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, url: str) -> StoreReceiver:
        """Return the receiver; a store that is down is opened later.

        Raises:
            IonError: ``extra-missing`` without SQLAlchemy, ``bad-store-url``, ``foreign-store``.
        """
        receiver = cls(url)
        try:
            receiver.opened()
        except ImportError as error:
            raise IonError(
                "extra-missing",
                "shipping to the store needs SQLAlchemy",
                "pip install 'dagster-ion[store]', or open_client(ship=False) and let an agent ship",
            ) from error
        except IonError as error:
            if error.code != "store-unreachable":
                raise
        return receiver

    def opened(self) -> GovernanceStore:
        """Return the store, opened if it is not yet.

        Raises:
            IonError: as `ion.store.open_store`.
        """
        from ion.store import open_store

        with self._lock:
            if self._store is None:
                self._store = open_store(self._url)
            return self._store

    def append(self, records: Sequence[Record], blocks: Mapping[str, bytes] | None = None) -> object:
        """Append to the store.

        Raises:
            IonError: as `ion.store.open_store`; whatever the store raises.
        """
        return self.opened().append(records, blocks)

    def keep_capture_keys(self, keys: Sequence[CaptureKey]) -> object:
        """Keep keys in the store.

        Raises:
            IonError: as `append`.
        """
        return self.opened().keep_capture_keys(keys)

    def acknowledged(self, agent: str) -> int | None:
        """Return the highest sequence number the store acknowledged to an agent, None for an unknown one.

        Raises:
            IonError: as `append`.
        """
        return self.opened().acknowledged(agent)

    def after_fork(self) -> None:
        """Make the receiver usable in a forked child; the store drops its parent's connections itself."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Release the store's connections."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


OwnReceiver = StoreReceiver | RemoteReceiver
"""What a client closes when it ends: it was opened for it."""
