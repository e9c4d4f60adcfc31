"""``ion intake``: programs in any language tell facts to this host's agent."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.command(name="intake")
@click.option(
    "--socket", type=click.Path(path_type=Path), help="Unix socket; by default intake.sock in the state folder."
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of 127.0.0.1 for HTTP, too; 0 takes a free one.")
def command(socket: Path | None, port: int | None) -> None:
    """Take facts from programs of this host, as lines of JSON or as OpenLineage events, until it is told to stop.

    Only programs of the same user are heard. Facts go to the spool first and to the store when that answers.

    Example: ion intake --port 4319
    """
    from ion.agent.intake import serve_intake
    from ion.agent.intake.addressing import Addressing
    from ion.agent.opening import open_client
    from ion.home import Home

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    home = Home.find().make()
    nodes = Addressing.of(home.own)
    place = (socket or home.own / "intake.sock").absolute()
    client = open_client(home, name="intake")
    try:
        with serve_intake(client, socket=place, port=port, nodes=nodes) as intake:
            click.echo(f"Takes facts at {place}" + (f" and http://127.0.0.1:{intake.port}" if intake.port else ""))
            stopped.wait()
    finally:
        client.close()
