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
    out = console()
    if not entries:
        out.print("No model was recorded yet.")
    styles = {"approve": "green", "reject": "red"}
    for entry in entries:
        serves = f", serves {', '.join(entry.serving)}" if entry.serving else ""
        serves += f", revoked for {', '.join(entry.revoked)}" if entry.revoked else ""
        head = f"{short(entry.model)}  {entry.name}  {entry.verdict or 'undecided'}{serves}"
        style = "red" if entry.revoked else styles.get(entry.verdict, "yellow")
        out.print(shown(head), style=style, soft_wrap=True)
        metrics = ", ".join(f"{name} {_number(value)}" for name, value in sorted(entry.metrics.items()))
        told = f"trained {when(entry.as_dict()['trained'])}, {entry.predictions} predictions, {metrics}"
        out.print(shown(f"              {told}"), soft_wrap=True)
        for reason in entry.reasons:
            if reason.get("verdict") != "approve":
                out.print(shown(f"              ✗ {reason.get('policy')}: {reason.get('message')}"), soft_wrap=True)


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
