"""What other programs tell the page: MLflow's webhook. It is believed to come from MLflow, and nothing it says is.

Signature: Standard Webhooks as MLflow sends it, ``v1,base64(HMAC-SHA256(secret, id.timestamp.body))``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from ion.clock import now_us
from ion.decision.mirror_mark import leave_mark
from ion.errors import IonError
from ion.evidence.shared_secret import MLFLOW_WEBHOOK, shared_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from ion.home import Home

LARGEST = 256 << 10
"""Bytes of a delivery."""
FRESH_SECONDS = 300
_SECONDS = re.compile(r"[0-9]{1,12}\Z")


def mlflow_hook(home: Home) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that wakes the mirror watch when MLflow, and nobody else, says that something changed."""

    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                return PlainTextResponse("too large\n", 413)
        try:
            secret = await run_in_threadpool(shared_secret, home, MLFLOW_WEBHOOK, make=False)
            if not genuine(request.headers, bytes(body), secret, now_us() // 1_000_000):
                return PlainTextResponse("not signed by MLflow, or too old\n", 401)
            await run_in_threadpool(leave_mark, home)
        except (IonError, OSError):
            return PlainTextResponse("this deployment takes no webhooks\n", 503)
        return PlainTextResponse("", 204)

    return endpoint


def genuine(headers: Mapping[str, str], body: bytes, secret: str, now: int) -> bool:
    """Return whether whoever knows ``secret`` signed this delivery within five minutes of ``now`` (seconds)."""
    delivery = headers.get("x-mlflow-delivery-id", "")
    timestamp = headers.get("x-mlflow-timestamp", "")
    if not delivery or not _SECONDS.match(timestamp) or abs(now - int(timestamp)) > FRESH_SECONDS:
        return False
    signed = f"{delivery}.{timestamp}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
    given = headers.get("x-mlflow-signature", "").split()
    # A secret that is being replaced gives two.
    return any(hmac.compare_digest(wanted, one.encode()) for one in given[:4])
