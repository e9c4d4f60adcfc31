"""How the server is: for whoever restarts it, balances load over several, or draws curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from ion.server.endpoint import Asked, Endpoint
from ion.server.refusals import explained

if TYPE_CHECKING:
    from ion.server.endpoint import Answer


async def health(_asked: Asked) -> Answer:
    """Answer: the process lives. Its store is not asked."""
    return {"status": "ok"}


def ready(asked: Asked) -> Answer:
    """Answer when the store does; else with 503."""
    return {"status": "ready", "head": asked.store.head().position}


def metrics(asked: Asked) -> Response:
    """Return the counters of this process, and where the store's head is: not a number while it is away.

    No token is asked for: they name no agent, node or model, and are wanted most when the store is away.
    """
    meters = asked.deployment.meters
    try:
        meters.head.set(asked.store.head().position)
    except Exception as error:
        if explained(error) is None:
            raise
        meters.head.set(float("nan"))
    return Response(meters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


ROUTES = (
    Endpoint("GET", "/health", health, "Whether the process lives.", None, slot="none"),
    Endpoint("GET", "/ready", ready, "Whether it can take facts: its store answers.", None),
    Endpoint("GET", "/metrics", metrics, "Counters, in Prometheus' text format.", None, answers="text/plain"),
)
