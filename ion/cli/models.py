"""``ion models``: the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, json_option, opened, print_json, short, shown, when

if TYPE_CHECKING:
    from ion.graph import Entry


@click.command(name="models")
@json_option
def command(*, as_json: bool) -> None:
    """List every candidate, newest first: metrics, verdict with reasons, where it serves.

    Example: ion models
    """
    from ion.graph import catalogue

    with opened() as asked:
        entries = catalogue(asked.store)
    if as_json:
        print_json({"models": [entry.as_dict() for entry in entries]})
    else:
        _print(entries)


def _print(entries: list[Entry]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not entries:
        console().print("No model was recorded yet.")
        return
    table = Table("model", "name", "trained (UTC)", "metrics", "verdict", "serves", "predictions")
    for entry in entries:
        told = entry.as_dict()
        metrics = "\n".join(f"{name} {_number(value)}" for name, value in sorted(entry.metrics.items()))
        against = [str(reason.get("message")) for reason in entry.reasons if reason.get("verdict") != "approve"]
        verdict = "\n".join([entry.verdict or "undecided", *against])
        cells = (
            short(entry.model),
            entry.name,
            when(told["trained"]),
            metrics,
            verdict,
            "\n".join(entry.serving),
            str(entry.predictions),
        )
        # Text, not str: a cell's markup would be interpreted. Newlines between lines are ours.
        table.add_row(*(Text("\n".join(shown(line) for line in cell.split("\n"))) for cell in cells))
    console().print(table)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
