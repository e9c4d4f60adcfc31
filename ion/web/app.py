"""The page as an ASGI application: routes, and what every answer carries for safety."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ion.errors import IonError
from ion.graph import defined, explain
from ion.graph.pending import pending
from ion.graph.signed import people_of
from ion.web.datasets import dataset_view
from ion.web.events import lately
from ion.web.hooks import mlflow_hook
from ion.web.ions import definitions, serving, serving_nodes
from ion.web.links import Links
from ion.web.models import catalogue, model_view
from ion.web.network import draw
from ion.web.rendering import templates
from ion.web.search import find_page
from ion.web.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ion.home import Home
    from ion.store import GovernanceStore

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = {
    # No script runs on this page, whatever a name in the store says.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_UNKNOWN = frozenset(
    {"unknown-model", "unknown-dataset", "unknown-ion", "unknown-prediction", "bad-prediction-id", "not-found"}
)

Answer = dict[str, object]


class _Page:
    """The store behind the page, opened at the first request: importing and mounting do no I/O."""

    def __init__(self, home: Home, links: Links) -> None:
        self._home = home
        self._links = links
        self._templates = templates()
        self._opened: tuple[GovernanceStore, Tally] | None = None

    def store(self) -> tuple[GovernanceStore, Tally]:
        if self._opened is None:
            from ion.store import open_store

            store = open_store(self._home.make().store_url)
            self._opened = (store, Tally(store))
        return self._opened

    def models(self, _request: Request) -> Answer:
        store, tally = self.store()
        known = definitions(store)
        rows = catalogue(store, tally, serving_nodes(list(known.values())))
        now = [(ion, serving(store, definition)) for ion, definition in known.items()]
        return {"template": "models.html", "rows": rows, "ions": now}

    def model(self, request: Request) -> Answer:
        store, tally = self.store()
        nodes = serving_nodes(list(definitions(store).values()))
        return {
            "template": "model.html",
            "model": model_view(store, self._home, tally, nodes, request.path_params["digest"]),
        }

    def pending(self, _request: Request) -> Answer:
        return {"template": "pending.html", "waiting": pending(self.store()[0], people_of(self._home))}

    def dataset(self, request: Request) -> Answer:
        return {"template": "dataset.html", "dataset": dataset_view(self.store()[0], request.path_params["digest"])}

    def ion(self, request: Request) -> Answer:
        store, _ = self.store()
        definition = defined(store, request.path_params["ion"])
        return {
            "template": "ion.html",
            "definition": definition,
            "drawing": draw(definition),
            "serving": serving(store, definition),
            "events": lately(store, definition.ion),
        }

    def prediction(self, request: Request) -> Answer:
        why = explain(self.store()[0], request.path_params["prediction"], self._home)
        return {"template": "prediction.html", "why": why}

    def search(self, request: Request) -> Answer | Response:
        asked = request.query_params.get("q", "").strip()[:200]
        place, matches = find_page(self.store()[0], asked)
        if place:
            return RedirectResponse(_base(request) + place, 303)
        return {"template": "search.html", "asked": asked, "matches": matches}

    def answer(self, view: Callable[[Request], Answer | Response]) -> Callable[[Request], Response]:
        """Return the endpoint of a view. It is not a coroutine: it runs in a thread and blocks no other page."""

        def endpoint(request: Request) -> Response:
            try:
                found = view(request)
                return found if isinstance(found, Response) else self._rendered(request, found, 200)
            except IonError as error:
                status, shown = (404 if error.code in _UNKNOWN else 503), error
            except Exception:
                logging.getLogger(__name__).exception("a page failed: %s", view.__name__)
                status, shown = (
                    500,
                    IonError("page-failed", "this page could not be made", "the web server's log says why"),
                )
            return self._rendered(request, {"template": "error.html", "error": shown}, status)

        return endpoint

    def _rendered(self, request: Request, found: Answer, status: int) -> Response:
        template = self._templates.get_template(str(found["template"]))
        body = template.render(
            **found, base=_base(request), links=self._links, quote=lambda part: quote(str(part), safe=":")
        )
        return HTMLResponse(body, status)


def governance_app(home: Home, links: Links | None = None, *, hosts: Sequence[str] = ()) -> Starlette:
    """Return the page of the deployment at ``home``, to be mounted anywhere.

    ``hosts``: names it may be asked under besides the loopback's; another name is refused, so that
    a foreign page in the same browser cannot read it by DNS rebinding.
    """
    page = _Page(home, links or Links())
    get = page.answer
    return Starlette(
        routes=[
            Route("/", get(page.models)),
            Route("/models", get(page.models)),
            Route("/models/{digest}", get(page.model)),
            Route("/pending", get(page.pending)),
            Route("/datasets/{digest}", get(page.dataset)),
            Route("/ions/{ion}", get(page.ion)),
            Route("/predictions/{prediction}", get(page.prediction)),
            Route("/search", get(page.search)),
            Route("/hooks/mlflow", mlflow_hook(home), methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("ion.web", "static")])),
            Route("/{rest:path}", get(_nowhere)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, *hosts]),
            Middleware(_Safe),
        ],
    )


def standalone_app(home: Home, links: Links | None = None, *, hosts: Sequence[str] = ()) -> Starlette:
    """Return an application that holds only the page, under ``/ion`` where links to it point."""
    return Starlette(
        routes=[
            Route("/", lambda _request: RedirectResponse("/ion/")),
            Mount("/ion", app=governance_app(home, links, hosts=hosts)),
        ]
    )


def _nowhere(_request: Request) -> Answer:
    raise IonError("not-found", "there is no such page", "start from the catalogue of models")


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


class _Safe:
    """Adds the safety headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, careful)
