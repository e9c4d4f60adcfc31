"""``ion version``."""

from __future__ import annotations

import platform

import click

from ion.cli.answering import json_option, print_json


@click.command(name="version")
@json_option
def command(*, as_json: bool) -> None:
    """Print the version of dagster-ion.

    Example: ion version
    """
    from ion import __version__

    if as_json:
        print_json({"dagster-ion": __version__, "python": platform.python_version()})
    else:
        click.echo(f"dagster-ion {__version__} (Python {platform.python_version()})")
