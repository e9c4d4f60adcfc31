"""Dagster's web server with the governance page mounted at ``/ion``.

Run as ``python -m ion.dagster.webserver --workspace FILE --port N``; `ion up` does. Dagster has no
public way to add a page: what is used of its internals stands in this one file, and a test holds it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click
from dagster_webserver.cli import _lifespan
from dagster_webserver.webserver import DagsterWebserver
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route

from ion.home import Home
from ion.web import Links, governance_app

if TYPE_CHECKING:
    from dagster._core.workspace.context import WorkspaceProcessContext
    from starlette.applications import Starlette
    from starlette.requests import Request

MOUNT = "/ion"


class GovernedWebserver(DagsterWebserver):  # type: ignore[type-arg]  # generic over contexts that are Dagster's own
    """Dagster's server, whose catch-all route comes after the governance page."""

    def __init__(self, context: WorkspaceProcessContext, page: Starlette) -> None:
        self._page = page
        super().__init__(context)

    def build_routes(self) -> list[BaseRoute]:
        """Return the governance page, then Dagster's own routes."""
        own = [Route(MOUNT, _to_page), Mount(MOUNT, app=self._page)]
        return [*own, *super().build_routes()]  # type: ignore[no-untyped-call]  # Dagster's own


def _to_page(_request: Request) -> RedirectResponse:
    return RedirectResponse(f"{MOUNT}/")


@click.command()
@click.option("--workspace", required=True)
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=int, required=True)
def main(workspace: str, host: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.interrupts import setup_interrupt_handlers

    setup_interrupt_handlers()
    logging.basicConfig(level=logging.WARNING)
    page = governance_app(Home.find(), Links.from_environment(dagster="/"), hosts=(host,))
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([workspace])) as context:
            app = GovernedWebserver(context, page).create_asgi_app(lifespan=_lifespan)
            uvicorn.run(app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
