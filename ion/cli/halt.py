"""``ion halt``: stop serving now."""

from __future__ import annotations

import getpass

import click

from ion.cli.answering import console, json_option, opened, print_json, shown


@click.command(name="halt")
@click.argument("node")
@click.option("--reason", required=True, help="Why; it is kept with your user name.")
@json_option
def command(node: str, reason: str, *, as_json: bool) -> None:
    """Stop NODE (ion/node) from predicting, until a later promotion.

    A signed fact, with the next serial; the serving process sees it within a moment.

    Example: ion halt patient_tests/predictions --reason "wrong unit in the feed"
    """
    from ion.evidence import load_signer
    from ion.ids import checked_node
    from ion.serving.promoting import open_promotions

    by = getpass.getuser()
    checked_node(node)
    with opened() as asked:
        signer = load_signer(asked.home.decision_key_uri)
        serial = open_promotions(asked.home, asked.store, signer).halt(node, reason=reason, by=by)
    if as_json:
        print_json({"node": node, "serial": serial, "reason": reason, "by": by})
    else:
        console().print(f"{shown(node)} is halted, serial {serial}, by {shown(by)}: {shown(reason)}")
