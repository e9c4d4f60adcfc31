"""Whose row it is: data subjects under a keyed tag, so that one person's capture keys can be found again.

A person's identifier has little entropy: its plain hash could be undone by trying all of them. A tag is
HMAC-SHA-256 (RFC 2104) under the deployment's pepper, and stands in the deletable table of keys only:
facts and blocks hold neither the identifier nor the tag.
"""

from __future__ import annotations

import hmac
import math
import os
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.files import read_regular, write_new
from ion.ids import checked_node

if TYPE_CHECKING:
    from ion.home import Home

PEPPER_BYTES = 32
_SCHEME = "ion-subject/1"


class SubjectTags:
    """Tags under one pepper. Whoever has the pepper can test whether a guessed person was captured."""

    def __init__(self, pepper: bytes) -> None:
        """Take the pepper.

        Raises:
            IonError: ``bad-key`` when it is not 32 bytes.
        """
        if len(pepper) != PEPPER_BYTES:
            raise IonError("bad-key", f"a pepper has {PEPPER_BYTES} bytes")
        self._pepper = pepper

    @classmethod
    def of(cls, home: Home) -> SubjectTags:
        """Use the deployment's pepper: the file ``ION_PEPPER``, by default ``keys/pepper``, made on first use.

        Raises:
            IonError: ``key-permissions``, ``bad-key``, or ``key-missing`` when it can be neither read nor made.
        """
        given = os.environ.get("ION_PEPPER", "")
        path = Path(given) if given else home.keys / "pepper"
        try:
            if not given and not path.exists():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):  # another process was first
                    write_new(path, os.urandom(PEPPER_BYTES).hex().encode())
            return cls(bytes.fromhex(read_regular(path, 1024, private=True).decode("ascii")))
        except OSError as error:
            hint = "set ION_PEPPER to a copy that this user can read"
            raise IonError("key-missing", f"cannot read the pepper {path}: {error.strerror}", hint) from error
        except ValueError as error:
            raise IonError("bad-key", f"{path} is not a pepper", "restore it: without it nobody is found") from error

    def tag(self, node: str, subject: str) -> str:
        """Return the tag (64 hex digits) of a person in a node (``ion/node``): another in every node.

        Raises:
            IonError: ``bad-node``.
        """
        message = "\0".join((_SCHEME, checked_node(node), subject_text(subject)))
        return hmac.digest(self._pepper, message.encode("utf-8", "surrogatepass"), "sha256").hex()


def subject_text(value: object) -> str:
    """Return one text for an identifier however a table held it: 7, 7.0, ``" 7"`` and ``"7"`` are the same.

    Empty for what names nobody: None, NaN, white space.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip()
