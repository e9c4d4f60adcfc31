"""A set of public keys, and from when to when each of their signatures counts."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.parsing import MAX_INTEGER
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Window:
    """When signatures of a key count: from ``since``, before ``until`` and ``revoked`` (µs UTC).

    A revocation names the time from which the key is not to be believed; 0 says that it never was.
    """

    since: int = 0
    until: int = MAX_INTEGER
    revoked: int | None = None

    def covers(self, at: int) -> bool:
        """Say whether a signature that says it was made ``at`` counts."""
        return self.since <= at < self.until and (self.revoked is None or at < self.revoked)


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Distinct public keys, one of which must have signed; ``windows`` by key id, without one a key always counts.

    Raises:
        IonError: ``trust-empty``; nothing can be trusted by nobody's word.
    """

    keys: tuple[PublicKey, ...]
    windows: Mapping[str, Window] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an empty root, and count each key once."""
        if not self.keys:
            raise IonError("trust-empty", "a trust root needs at least one public key")
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))

    def covers(self, key_id: str, at: int) -> bool:
        """Say whether a signature by this key, made ``at`` (µs UTC) as it says, counts."""
        window = self.windows.get(key_id)
        return window is None or window.covers(at)
