"""``ion approve``: a person signs that a model may serve."""

from __future__ import annotations

import click

from ion.cli.speaking import Speech, speak, speaking


@click.command(name="approve")
@speaking
@click.option("--withdraw", is_flag=True, help="Take back what you said about this model and node.")
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
    withdraw: bool,
) -> None:
    """Sign that MODEL may serve at NODE; eight digits of its digest are enough.

    The statement is signed by your own key and counts where a policy asks for people, until its date.
    With --print it is only printed, for the job `review` in Dagster; then give the whole digest where the
    store is out of reach.

    Example: ion approve 00833be69d0c --node biopsies/urgencies --reason "recall holds for all ages"
    """
    speech = Speech("withdraw" if withdraw else "approve", model, node, reason, until, key, person)
    speak(speech, only_print=only_print, yes=yes, as_json=as_json)
