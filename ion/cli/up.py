"""``ion up``: start the deployment and, unless detached, stay with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ion.cli.deployment import Deployment, ServiceState


@click.command(name="up")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of Dagster and the governance page.  [default: 3000]")
@click.option("--mlflow-port", type=click.IntRange(1, 65535), help="Port of MLflow's page.  [default: 5000]")
@click.option("--detach", is_flag=True, help="Return when everything answers; `ion down` ends it.")
def command(port: int | None, mlflow_port: int | None, *, detach: bool) -> None:
    """Start Dagster, MLflow's page, the governance page and the streaming jobs.

    Runs in the project folder (the one with workspace.yaml), keeps its state under ION_HOME (.ion).
    Ctrl-C ends everything. Everything listens on this machine only.

    Example: ion up --detach
    """
    from ion.cli.deployment import Deployment
    from ion.cli.deployment.deployment import MLFLOW_PORT, PORT
    from ion.home import Home

    home = Home.find()
    running = Deployment(home, Path.cwd()).status()
    port = port or (running.port if running else PORT)
    mlflow_port = mlflow_port or (running.mlflow_port if running else None) or MLFLOW_PORT
    deployment = Deployment(home, Path.cwd(), port, mlflow_port)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    ours = False
    try:
        ours = running is None
        new = deployment.start(None if running and running.phase == "running" else _tell, tied=not detach)
        seconds = time.monotonic() - began
        click.echo(f"Everything answers after {seconds:.1f} s." if new else "It runs already.")
        _addresses(deployment)
        if new and not detach:
            click.echo("Ctrl-C ends it.")
            while deployment.status() is not None:
                time.sleep(0.5)
            click.echo(f"The deployment ended; its logs are in {_shown(deployment.logs)}.")
    except KeyboardInterrupt:
        if not ours:
            raise
        click.echo("\nEnding everything ...")
        began = time.monotonic()
        deployment.stop()
        click.echo(f"Ended after {time.monotonic() - began:.1f} s.")


def _tell(service: ServiceState) -> None:
    click.echo(f"  {service.seconds:5.1f} s  {service.name} is ready")


def _addresses(deployment: Deployment) -> None:
    click.echo(f"Dagster          {deployment.dagster_url}")
    click.echo(f"Governance page  {deployment.web_url}")
    click.echo(f"MLflow           {deployment.mlflow_url}")
    click.echo(f"Logs             {_shown(deployment.logs)}")


def _shown(path: Path) -> str:
    """Return a path as people write it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
