"""Errors as answers: which status, and when to come again."""

from __future__ import annotations

import logging
import random

from starlette.responses import JSONResponse, Response

from ion.errors import IonError
from ion.store import outage

_STATUS = {
    "no-token": 401,
    "token-refused": 401,
    "not-permitted": 403,
    "foreign-agent": 403,
    "not-found": 404,
    "body-too-slow": 408,
    "conflict": 409,
    "body-too-large": 413,
    "bad-encoding": 415,
    "server-busy": 429,
    "points-differ": 500,
    "server-failed": 500,
    "bad-store-url": 503,
    "extra-missing": 503,
    "foreign-store": 503,
    "home-unusable": 503,
    "store-unreachable": 503,
}
_AWAY = 503
_COME_AGAIN = {429: 1, _AWAY: 5}
"""Seconds, to which chance adds as much again: those refused together do not come back together."""


def status_of(error: IonError) -> int:
    """Return the HTTP status of an error; what is not listed is the sender's mistake."""
    known = _STATUS.get(error.code)
    return known or (404 if error.code.startswith("unknown-") else 400)


def explained(error: BaseException) -> IonError | None:
    """Return what to answer; None for an error that nobody foresaw.

    Where the store is, and what is wrong with it, is for the log, not for everybody who reaches the server.
    """
    found = error if isinstance(error, IonError) else outage(error)
    if found is None or status_of(found) != _AWAY:
        return found
    logging.getLogger(__name__).warning("the store cannot be used: %s", found.message)
    return IonError(found.code, "the governance store does not answer", "ask again later; the server's log says why")


def refusal(error: IonError, status: int) -> Response:
    """Return an answer that says what is wrong, as the command does with ``--json``."""
    response = JSONResponse({"error": error.as_dict()}, status)
    if status in _COME_AGAIN:
        least = _COME_AGAIN[status]
        response.headers["Retry-After"] = str(random.randint(least, 2 * least))  # noqa: S311 - no secret
    if status == 401:  # noqa: PLR2004 - RFC 9110 asks for the header with this status
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
