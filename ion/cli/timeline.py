"""``ion timeline``: what happened, in order."""

from __future__ import annotations

import click

from ion.cli.answering import console, json_option, opened, print_json, shown, when


@click.command(name="timeline")
@click.argument("ion")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many events.")
@json_option
def command(ion: str, limit: int | None, *, as_json: bool) -> None:
    """Show the events of all nodes of ION in one line of time, oldest first.

    Example: ion timeline patient_tests --limit 30
    """
    from ion.graph import timeline

    with opened() as asked:
        events = timeline(asked.store, ion, limit=limit)
    if as_json:
        print_json({"ion": ion, "events": [event.as_dict() for event in events]})
        return
    out = console()
    width = max((len(event.node) for event in events), default=0)
    for event in events:
        line = f"{when(event.as_dict()['at'])}  {event.node or ion:{width}}  {event.summary}"
        out.print(shown(line), soft_wrap=True)
