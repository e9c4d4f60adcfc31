"""``ion down``: end every process of the deployment."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command(name="down")
def command() -> None:
    """End everything that `ion up` started, streaming jobs included, within ten seconds.

    Also ends what is left of a deployment whose supervisor was killed. State under ION_HOME stays.

    Example: ion down
    """
    from ion.cli.deployment import Deployment
    from ion.home import Home

    began = time.monotonic()
    found = Deployment(Home.find(), Path.cwd()).stop()
    click.echo(f"Ended after {time.monotonic() - began:.1f} s." if found else "Nothing was running.")
