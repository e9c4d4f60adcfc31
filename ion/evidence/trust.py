"""The trust root: the public keys whose signatures count, chosen by the operator beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.keys import PublicKey, load_public

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Distinct public keys, one of which must have signed.

    Raises:
        IonError: ``trust-empty``; nothing can be trusted by nobody's word.
    """

    keys: tuple[PublicKey, ...]

    def __post_init__(self) -> None:
        """Refuse an empty root, and count each key once."""
        if not self.keys:
            raise IonError("trust-empty", "a trust root needs at least one public key")
        object.__setattr__(self, "keys", tuple(dict.fromkeys(self.keys)))

    @classmethod
    def from_files(cls, *paths: Path) -> TrustRoot:
        """Return the trust root of these PEM files.

        Raises:
            IonError: ``trust-empty``, ``key-missing`` or ``bad-key``.
        """
        return cls(tuple(load_public(path) for path in paths))
