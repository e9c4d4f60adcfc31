"""``ion retain``: remove bodies that grew old."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown, when
from ion.clock import now_us, rfc3339

if TYPE_CHECKING:
    from ion.store.floors import Kind
    from ion.store.retention import Gone

_DAY_US = 86_400_000_000


@click.command(name="retain")
@click.option("--kind", type=click.Choice(["captures", "quarantine", "statistics"]), required=True, help="Of what.")
@click.option("--older-than", "age", required=True, help="Remove what is older, e.g. 200d; units h, d, w.")
@click.option("--node", default="", help="Only at this node, ION/NODE.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def command(kind: Kind, age: str, node: str, *, dry_run: bool, as_json: bool) -> None:
    """Remove captured rows, quarantined rows or points of statistics that are older than an age.

    Facts stay and the ledger verifies as before; a receipt among the facts says what went. Nothing goes that
    is younger than its least age (retention.toml in the state folder), that an undecided candidate needs, or
    that belongs to an epoch that still serves. Exit code 1: the age is below the least one, nothing went.

    Example: ion retain --kind captures --older-than 400d --dry-run
    """
    from ion.ids import checked_node
    from ion.store.choosing import Asked
    from ion.store.floors import age_us, floors

    older = age_us(age)
    if node:
        checked_node(node)
    with opened() as asked:
        floor = floors(asked.home.retention)[kind]
        answer: dict[str, object] = {"kind": kind, "node": node or None, "floor_days": floor / _DAY_US}
        if older < floor:
            told = f"{kind} must be kept for {floor / _DAY_US:g} days at least, you ask for {older / _DAY_US:g}"
            _refuse(answer, told, as_json=as_json)
            return
        before = now_us() - older
        gone = asked.store.retention.apply(Asked(kind, before, floor, getpass.getuser(), node), dry_run=dry_run)
    answer |= {"before": rfc3339(before), "dry_run": dry_run, "refused": None}
    answer |= {"bodies": gone.bodies, "bytes": gone.size, "kept": gone.kept, "receipts": gone.receipts}
    if as_json:
        print_json(answer)
    else:
        _print(gone, rfc3339(before), kind, dry_run=dry_run)


def _refuse(answer: dict[str, object], why: str, *, as_json: bool) -> None:
    if as_json:
        print_json(answer | {"refused": why})
    else:
        out = console()
        out.print(f"Nothing was removed: {why}.")
        out.print("Declare another least age in retention.toml if you may: see docs/how-to/retain.md.")
    did_not_hold()


def _print(gone: Gone, before: str, kind: str, *, dry_run: bool) -> None:
    out = console()
    said = "would go" if dry_run else "removed"
    out.print(shown(f"{gone.bodies} bodies of {kind} from before {when(before)} {said}, {gone.size} bytes"))
    for reason, count in sorted(gone.kept.items()):
        out.print(shown(f"  {count} had to stay: {reason}"))
    for receipt in gone.receipts:
        out.print(shown(f"  receipt: retention {receipt}"))
