"""``ion predictions``: ids to ask about."""

from __future__ import annotations

import click

from ion.cli.answering import console, json_option, opened, print_json, short, shown, when


@click.command(name="predictions")
@click.argument("ion")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, at most.")
@json_option
def command(ion: str, limit: int, *, as_json: bool) -> None:
    """List the newest predictions of ION, newest first.

    Example: ion predictions patient_tests --limit 5
    """
    from ion.graph import predictions

    with opened() as asked:
        found = predictions(asked.store, ion, limit)
    if as_json:
        print_json({"ion": ion, "predictions": [entry.as_dict() for entry in found]})
        return
    out = console()
    if not found:
        out.print(f"{shown(ion)} has made no prediction yet.")
    for entry in found:
        told = entry.as_dict()
        captured = "" if entry.captured else ", input not captured"
        line = f"{entry.prediction}  {when(told['at'])}  {entry.node}  model {short(entry.model)}{captured}"
        out.print(shown(line), soft_wrap=True)
