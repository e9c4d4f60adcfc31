"""``ion audit verify``: everything recorded here, against itself and against what was signed of it before."""

from __future__ import annotations

from pathlib import Path

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown
from ion.cli.auditing.given import contents, file_argument
from ion.ledger.note import MAX_NOTE


@click.command(name="verify")
@click.option("--against", multiple=True, type=file_argument, help="A checkpoint kept elsewhere; may be repeated.")
@click.option(
    "--git", "repository", type=click.Path(path_type=Path, file_okay=False), help="A repository with anchors."
)
@click.option("--dagster", "event_log", is_flag=True, help="Also against the checkpoints in Dagster's event log.")
@json_option
def command(*, against: tuple[Path, ...], repository: Path | None, event_log: bool, as_json: bool) -> None:
    """Verify everything recorded here; list what is wrong.

    Checks the chain of facts to its head, the tree of the same bytes against every checkpoint (those among the
    facts, in the folder checkpoints/, and those given), that what is derived follows from the facts, every
    signature, all bytes named by digest, each agent's sequence, and the pointer files. Nothing is
    changed. Exits with 1 when anything is wrong.

    Example: ion audit verify --against /mnt/elsewhere/latest.note
    """
    from ion.audit import verify

    notes = {str(path): contents(path, MAX_NOTE) for path in against}
    if repository is not None:
        from ion.audit.git_anchor import anchored

        notes |= {f"tag {name}": note for name, note in anchored(repository).items()}
    if event_log:
        from ion.dagster.checkpoints import reported_notes

        notes |= reported_notes()
    with opened() as asked:
        audit = verify(asked.store, asked.home, notes)
    if as_json:
        print_json(audit.as_dict())
    else:
        out = console()
        for problem in audit.problems:
            where = f"at {problem.position}" if problem.position else "overall"
            out.print(f"✗ {problem.kind} {where}: {shown(problem.message)}", style="red")
        if audit.ok:
            told = f"{audit.entries} entries, all as recorded and signed; {audit.checkpoints} checkpoints hold"
            out.print(f"✓ {told}", style="green")
        if audit.removed:
            out.print(f"  {audit.removed} facts have lost their bodies by retention, each with a receipt")
        out.print(f"  head {audit.head}")
        out.print(f"  root {audit.root}")
    if not audit.ok:
        did_not_hold()
