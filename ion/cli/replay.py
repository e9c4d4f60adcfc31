"""``ion replay``: compute one prediction again."""

from __future__ import annotations

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown


@click.command(name="replay")
@click.argument("prediction")
@json_option
def command(prediction: str, *, as_json: bool) -> None:
    """Compute one PREDICTION again, from its captured input and its model's own bytes.

    The verdict is identical (bit for bit), within_tolerance, diverged or unavailable; the last
    two exit with 1. What was found becomes a fact.

    Example: ion replay 0193f3a2-7c93-7911-8a6e-06ff3ee1fb94:17
    """
    from ion.agent.client import Client
    from ion.graph import find_prediction
    from ion.replay import replay

    with opened() as asked:
        identity = find_prediction(asked.store, prediction)
        client = Client(asked.home, "replay", asked.store)
        try:
            result = replay(asked.store, asked.home, identity, client)
        finally:
            client.close()
    if as_json:
        print_json(result.as_dict())
    else:
        out = console()
        out.print(f"{result.verdict}  {result.prediction}", style="green" if result.held else "red")
        out.print(f"  recorded  {result.recorded!r}")
        out.print(f"  replayed  {result.replayed!r}")
        if result.reason:
            out.print(f"  {shown(result.reason)}")
    if not result.held:
        did_not_hold()
