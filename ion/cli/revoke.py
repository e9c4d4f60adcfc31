"""``ion revoke``: withdraw a model from a node for good."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, json_option, opened, print_json, short, shown

if TYPE_CHECKING:
    from ion.store import Current


@click.command(name="revoke")
@click.argument("model")
@click.option("--node", required=True, help="Where it must not serve any more: ion/node.")
@click.option("--reason", required=True, help="Why; it is kept with your user name.")
@json_option
def command(model: str, node: str, reason: str, *, as_json: bool) -> None:
    """Withdraw MODEL from a node for good: it never serves there again.

    MODEL is the beginning of its digest, eight digits or more. If it serves there now, the node falls
    back to the last approved model or stops, as its definition says (on_revocation). The serving
    process sees it within a moment.

    Example: ion revoke 3f2a91c0 --node patient_tests/predictions --reason "trained on mislabelled rows"
    """
    from ion.evidence import load_signer
    from ion.graph.addressing import find_model
    from ion.ids import checked_node
    from ion.serving.promoting import open_promotions

    by = getpass.getuser()
    checked_node(node)
    with opened() as asked:
        digest = find_model(asked.store, model)
        before = asked.store.current(node)
        signer = load_signer(asked.home.decision_key_uri)
        serial = open_promotions(asked.home, asked.store, signer).revoke(node, digest, reason=reason, by=by)
        now = asked.store.current(node)
    serves = "" if now.halted else now.model
    if as_json:
        told = {"model": digest, "node": node, "serial": serial, "reason": reason, "by": by}
        print_json(told | {"served": before.model == digest and not before.halted, "serves_now": serves or None})
    else:
        console().print(f"{shown(node)} never serves {short(digest)} again, serial {serial}, by {shown(by)}")
        console().print(_consequence(digest, before, now))


def _consequence(model: str, before: Current, now: Current) -> str:
    if before.model != model or before.halted:
        return "It did not serve there; nothing else changed."
    if now.halted:
        return "It served there: the node has stopped, until a model is promoted."
    return f"It served there: the node fell back to {short(now.model)}, serial {now.serial}."
