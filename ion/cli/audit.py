"""``ion audit``: whether the record still is what it was."""

from __future__ import annotations

import click

from ion.cli.auditing import checkpoint, proving, trail, verifying, witness


@click.group(name="audit")
def command() -> None:
    """Audit the record.

    Example: ion audit verify
    """


command.add_command(verifying.command)
command.add_command(checkpoint.command)
command.add_command(checkpoint.anchor)
command.add_command(proving.prove)
command.add_command(proving.check)
command.add_command(proving.consistency)
command.add_command(witness.command)
command.add_command(trail.command)
