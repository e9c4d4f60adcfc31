"""The application: it composes the lists of routes, and holds what every answer promises."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ion.agent.receiver import StoreReceiver
from ion.errors import IonError
from ion.server import bringing, condition, ingest, questions
from ion.server.access import caller_of
from ion.server.bounds import Bounds, Load
from ion.server.endpoint import Asked, Deployment, Endpoint
from ion.server.metering import Meters
from ion.server.openapi import document
from ion.server.refusals import explained, refusal, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from ion.home import Home
    from ion.server.endpoint import Answer


async def _described(_asked: Asked) -> Answer:
    return document(ROUTES)


ROUTES: Sequence[Endpoint] = (
    *ingest.ROUTES,
    *questions.ROUTES,
    *condition.ROUTES,
    *bringing.ROUTES,
    Endpoint("GET", "/openapi.json", _described, "This description.", None, slot="none"),
)
"""Every route of the server."""


def server_app(home: Home, bounds: Bounds | None = None) -> Starlette:
    """Return the server of the deployment at ``home``; its store is opened at the first request."""
    bounds = bounds or Bounds()
    load = Load(bounds)
    deployment = Deployment(home, StoreReceiver(home.store_url), bounds, load, Meters(load))
    routes = [Route(each.path, _answering(each, deployment), methods=[each.method]) for each in ROUTES]
    routes.append(Route("/{rest:path}", _nowhere))
    return Starlette(routes=routes)


def _answering(endpoint: Endpoint, deployment: Deployment) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        began = time.monotonic()
        try:
            with deployment.load.slot(endpoint.slot):
                found = await _answered(endpoint, deployment, request)
            response = found if isinstance(found, Response) else JSONResponse(dict(found))
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody is there to read it
        except Exception as error:
            told = explained(error)
            if told is None:
                logging.getLogger(__name__).exception("%s %s failed", endpoint.method, endpoint.path)
                told = IonError("server-failed", "the server failed at this request", "the server's log says why")
            response = refusal(told, status_of(told))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        meters = deployment.meters
        meters.requests.labels(endpoint.method, endpoint.path, str(response.status_code)).inc()
        meters.seconds.labels(endpoint.method, endpoint.path).observe(time.monotonic() - began)
        return response

    return answer


async def _answered(endpoint: Endpoint, deployment: Deployment, request: Request) -> Answer | Response:
    caller = None
    if endpoint.role is not None:
        header = request.headers.get("authorization", "")
        caller = await run_in_threadpool(lambda: caller_of(deployment.store(), header))
        caller.require_role(endpoint.role)
    for name, value in request.path_params.items():
        if not str(value).isprintable():
            raise IonError("bad-request", f"{name} in the address holds a character that no name has")
    known = {parameter.name for parameter in endpoint.query}
    if unknown := sorted(set(request.query_params) - known):
        raise IonError(
            "bad-request", f"there is no parameter {unknown[0]!r}"[:200], f"known: {', '.join(sorted(known))}"
        )
    query = {each.name: each.read(request.query_params.getlist(each.name)) for each in endpoint.query}
    asked = Asked(request, deployment, caller, dict(request.path_params), query)
    function = endpoint.answer
    found = function(asked) if inspect.iscoroutinefunction(function) else await run_in_threadpool(function, asked)
    return await found if isinstance(found, Awaitable) else found


async def _nowhere(_request: Request) -> Response:
    return refusal(IonError("not-found", "there is no such address", "GET /openapi.json lists them"), 404)
