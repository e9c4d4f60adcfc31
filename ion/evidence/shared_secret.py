"""Secrets that another program must know, too: by them HTTP messages are authenticated (HMAC)."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.files import read_regular, write_new

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home

MLFLOW_WEBHOOK = "mlflow-webhook"
"""Under which MLflow signs what it tells us."""
MLFLOW_STORAGE = "mlflow-storage"
"""Under which the MLflow of `ion up` keeps the former in its database."""
NOTIFICATIONS = "notifications"
"""Under which we sign what we tell others."""

_VARIABLES = {MLFLOW_WEBHOOK: "ION_MLFLOW_WEBHOOK_SECRET", NOTIFICATIONS: "ION_NOTIFY_SECRET"}
_SHORTEST, _LONGEST = 16, 1024


def shared_secret(home: Home, name: str, *, make: bool = True) -> str:
    """Return the secret in the environment variable of its name, else in ``keys/NAME`` of the home (0600).

    Args:
        home: the deployment.
        name: one of the above.
        make: write a random secret (256 bits, base64url) where there is none.

    Raises:
        IonError: ``secret-missing`` where there is none and none is made, ``bad-secret`` for one of less than
            16 characters or with white space, ``key-permissions``, ``key-unwritable``.
    """
    variable = _VARIABLES.get(name, "")
    found = os.environ.get(variable, "") if variable else ""
    return _checked(found, variable) if found else _checked(_kept(home.keys / name, make=make), f"keys/{name}")


def _kept(path: Path, *, make: bool) -> str:
    try:
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was first: its secret is the one
                write_new(path, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
        return read_regular(path, _LONGEST, private=True).decode("ascii").strip()
    except FileNotFoundError as error:
        hint = "`ion up` makes one; or set the variable that docs/reference/environment.md names"
        raise IonError("secret-missing", f"there is no secret keys/{path.name}", hint) from error
    except OSError as error:
        raise IonError("key-unwritable", f"cannot use the secret keys/{path.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise IonError("bad-secret", f"keys/{path.name} is not text") from error


def _checked(text: str, place: str) -> str:
    if len(text) < _SHORTEST or len(text) > _LONGEST or not text.isascii() or any(char.isspace() for char in text):
        raise IonError(
            "bad-secret",
            f"{place} is no secret: {_SHORTEST} to {_LONGEST} ASCII characters without white space are",
            "make one: openssl rand -base64 32",
        )
    return text
