"""``ion erase``: destroy what was captured of a person."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown

if TYPE_CHECKING:
    from ion.replay import Eraser, Erasure
    from ion.store import GovernanceStore


@click.command(name="erase")
@click.argument("subject", required=False)
@click.option("--node", default="", help="ION/NODE whose captured rows of SUBJECT are meant.")
@click.option("--prediction", default="", help="Erase the input of this prediction instead.")
@click.option("--key", "key_id", default="", help="Erase everything under this capture key instead.")
@click.option("--with-others", is_flag=True, help="With --prediction: also when its key seals rows of others.")
@click.option("--reason", required=True, help="Why; kept for good, so name nobody in it.")
@json_option
def command(
    subject: str | None, node: str, prediction: str, key_id: str, reason: str, *, with_others: bool, as_json: bool
) -> None:
    """Destroy the keys of what was captured of SUBJECT, so that nobody can read it again.

    SUBJECT is what the node's subject column holds; - reads it from standard input. The facts stay and
    still verify; replay then answers erased. Exit code 1: there was nothing to erase. Rows in inboxes and
    datasets, and backups, are not touched.

    Example: ion erase wdbc-0007 --node patient_tests/predictions --reason "request 2026-114"
    """
    from ion.replay import Eraser

    ways = [bool(subject), bool(prediction), bool(key_id)]
    if sum(ways) != 1 or bool(node) != bool(subject):
        raise click.UsageError("give SUBJECT with --node, or --prediction, or --key")
    with opened() as asked:
        eraser = Eraser(asked.store, asked.home, reason=reason, by=getpass.getuser())
        if subject:
            named = sys.stdin.readline() if subject == "-" else subject
            done = eraser.subject(node, named)
        else:
            done = _other(asked.store, eraser, prediction, key_id, with_others=with_others)
    if as_json:
        print_json(done.as_dict() | {"reason": reason})
    else:
        _print(done)
    if not done.held:
        did_not_hold()


def _other(store: GovernanceStore, eraser: Eraser, prediction: str, key_id: str, *, with_others: bool) -> Erasure:
    from ion.graph import find_prediction

    if key_id:
        return eraser.key(key_id)
    return eraser.prediction(find_prediction(store, prediction), with_others=with_others)


def _print(done: Erasure) -> None:
    out = console()
    if not done.held:
        out.print("There is no key to destroy: nothing was captured, or it was erased before.")
        return
    rows = "" if done.rows is None else f", {done.rows} captured rows"
    out.print(shown(f"Erased: {len(done.keys)} keys{rows}. Receipt: erasure {done.erasure}"))
    if not done.cleared:
        out.print("The database's files may still hold the keys: others were reading. Erase again to clear them.")
    out.print("Inbox files, datasets and backups are not touched: see docs/how-to/erase.md.")
