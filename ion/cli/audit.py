"""``ion audit``: whether the record still is what it was."""

from __future__ import annotations

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown


@click.group(name="audit")
def command() -> None:
    """Audit the record.

    Example: ion audit verify
    """


@command.command(name="verify")
@json_option
def verify(*, as_json: bool) -> None:
    """Verify everything recorded here; list what is wrong.

    Checks the chain of facts to its head, that what is derived follows from the facts, every
    signature, all bytes named by digest, each agent's sequence, and the pointer files. Nothing is
    changed. Exits with 1 when anything is wrong.

    Example: ion audit verify --json
    """
    from ion.audit import verify as verify_all

    with opened() as asked:
        audit = verify_all(asked.store, asked.home)
    if as_json:
        print_json(audit.as_dict())
    else:
        out = console()
        for problem in audit.problems:
            where = f"at {problem.position}" if problem.position else "overall"
            out.print(f"✗ {problem.kind} {where}: {shown(problem.message)}", style="red")
        if audit.ok:
            out.print(f"✓ {audit.entries} entries, all as recorded and signed", style="green")
        out.print(f"  head {audit.head}")
    if not audit.ok:
        did_not_hold()
