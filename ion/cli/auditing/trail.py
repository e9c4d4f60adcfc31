"""``ion audit trail``: who did what, when, on which evidence."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, json_option, opened, print_json, short, shown, when
from ion.cli.signing import time_of
from ion.clock import rfc3339

if TYPE_CHECKING:
    from ion.audit.attested import Attested
    from ion.audit.trail import Step

COLUMNS = (
    "time", "position", "fact", "kind", "actor_kind", "actor", "key", "action", "subject", "node", "evidence",
    "signature",
)  # fmt: skip


@click.command(name="trail")
@click.option("--model", default="", help="A model version; eight digits of its digest are enough.")
@click.option("--person", default="", help="A person, by id or another name.")
@click.option("--node", default="", help="A node, ION/NODE.")
@click.option("--from", "since", default="", help="From this date or time on.")
@click.option("--to", "until", default="", help="Up to this date or time, not included.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a head line.")
@json_option
def command(
    model: str, person: str, node: str, since: str, until: str, *, as_csv: bool, as_json: bool
) -> None:  # fmt: skip
    """List who did what, when, on which evidence: about a model, by a person, at a node.

    Of several, what belongs to all. Each line says whether a signature proves it. What carries none
    (a training, a check, a user name) rests on the ledger: `ion audit prove` proves that it stood there.
    Exits with 0 also where a signature does not hold; `ion audit verify` judges.

    Example: ion audit trail --node patient_tests/predictions --from 2027-01-01 --csv
    """
    if not (model or person or node):
        raise click.UsageError("give --model, --person or --node")
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json")
    from ion.audit.trail import trail
    from ion.evidence.parsing import MAX_INTEGER
    from ion.graph import find_model

    with opened() as asked:
        digest = find_model(asked.store, model) if model else ""
        begin, end = time_of(since) if since else 0, time_of(until) if until else MAX_INTEGER
        steps = list(trail(asked.store, asked.home, model=digest, person=person, node=node, since=begin, until=end))
    if as_json:
        asked_for = {"model": digest or None, "person": person or None, "node": node or None}
        print_json({**asked_for, "from": since or None, "to": until or None, "trail": [s.as_dict() for s in steps]})
    elif as_csv:
        click.echo(_csv(steps), nl=False)
    else:
        _print(steps)


def _csv(steps: list[Step]) -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for step in steps:
        actor = step.actor
        cells = (
            rfc3339(step.us), step.position, step.fact, step.kind, actor.kind, actor.name, actor.key, step.action,
            step.subject, step.node, "; ".join(f"{name} {digest}" for name, digest in step.evidence.items()),
            _signature(step.attested),
        )  # fmt: skip
        rows.writerow([_inert(cell) for cell in cells])
    return out.getvalue()


def _inert(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: what facts hold was written by others."""
    text = shown(cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _signature(attested: Attested) -> str:
    if not attested.signed:
        return "none"
    return f"not verified: {attested.problem}" if attested.problem else "verified"


def _print(steps: list[Step]) -> None:
    out = console()
    for step in steps:
        attested = step.attested
        mark = ("✓" if attested.verified else "✗") if attested.signed else " "
        key = f" (key {short(step.actor.key)})" if step.actor.key else ""
        head = f"{mark} {when(rfc3339(step.us))}  {step.position:>6}  {step.actor.kind} {step.actor.name}{key}"
        out.print(shown(f"{head}: {step.action}"), style="red" if attested.problem else None, soft_wrap=True)
        if attested.problem:
            out.print(shown(f"    signature not verified: {attested.problem}"), style="red", soft_wrap=True)
        if step.evidence:
            out.print(
                shown(f"    on {' '.join(short(digest) for digest in step.evidence)}"), style="dim", soft_wrap=True
            )
    if not steps:
        out.print("Nothing is recorded.")
