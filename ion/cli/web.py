"""``ion web``: the governance page alone."""

from __future__ import annotations

from pathlib import Path

import click

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@click.command(name="web")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; the page has no login.")
def command(port: int, host: str) -> None:
    """Serve the governance page alone: models, decisions, lineage, predictions. It only reads.

    `ion up` serves the same page beside Dagster's, at /ion.

    Example: ion web --port 3001
    """
    import uvicorn

    from ion.cli.deployment import Deployment
    from ion.cli.deployment.ports import require_free
    from ion.home import Home
    from ion.store import open_store
    from ion.web import Links, standalone_app

    home = Home.find()
    open_store(home.make().store_url).close()  # a foreign store is refused before anything is served
    require_free(host, port, option="--port")
    running = Deployment(home, Path.cwd())
    state = running.status()
    links = Links.from_environment()
    if state is not None:
        links = Links(running.dagster_url, links.mlflow or (running.mlflow_url if state.mlflow_port else ""))
    if host not in _LOOPBACK:
        click.echo(f"Everyone who reaches {host} can read this page: it has no login.", err=True)
    name = f"[{host}]" if ":" in host else host
    click.echo(f"Governance page  http://{name}:{port}/ion/")
    uvicorn.run(standalone_app(home, links, hosts=(name,)), host=host, port=port, log_level="warning")
