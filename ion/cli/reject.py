"""``ion reject``: a person signs that a model must not serve."""

from __future__ import annotations

import click

from ion.cli.speaking import Speech, speak, speaking


@click.command(name="reject")
@speaking
def command(  # noqa: PLR0913 - one argument an option
    model: str,
    *,
    node: str,
    reason: str,
    until: str,
    key: str,
    person: str,
    only_print: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Sign that MODEL must not serve at NODE; eight digits of its digest are enough.

    One rejection by a person in the role that a policy asks for is enough. `ion approve --withdraw`
    takes it back. A model that serves already on people's approvals stops serving.

    Example: ion reject 00833be69d0c --node biopsies/urgencies --reason "misses small tumours"
    """
    speech = Speech("reject", model, node, reason, until, key, person)
    speak(speech, only_print=only_print, yes=yes, as_json=as_json)
