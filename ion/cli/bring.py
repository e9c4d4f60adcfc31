"""``ion bring``: what nodes of this machine serve with comes from a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import did_not_hold, json_option, print_json, shown
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from ion.facts import AdmissionRefused


@click.command(name="bring")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@json_option
def command(nodes: tuple[str, ...], *, as_json: bool) -> None:
    """Bring what NODEs (ion/node) serve with now from the server at ION_STORE_URL.

    Pointers, models and the trust document are verified under the root's public key, which must be
    in this state folder already. Exits with 1 when something was refused. To keep it so: ion agent --node.

    Example: ion bring patient_tests/predictions
    """
    from ion.agent import open_client
    from ion.serving.courier import Courier

    home = Home.find().make()
    if not home.server_url:
        hint = "set ION_STORE_URL=https://host:port; beside the store nothing has to be brought"
        raise IonError("bad-store-url", "ION_STORE_URL names no server to bring anything from", hint)
    refused: list[AdmissionRefused] = []
    client = open_client(home, name="bring")

    def tell(fact: AdmissionRefused) -> None:
        refused.append(fact)
        client.emit(fact)
        click.echo(f"{shown(fact.node)}: refused at step {fact.step}: {shown(fact.reason)}", err=True)

    try:
        held = Courier(home, nodes, home.server_url, tell).bring()
    finally:
        client.close()
    if as_json:
        problems = [{"node": fact.node, "step": fact.step, "reason": fact.reason} for fact in refused]
        print_json({"nodes": [{"node": node, "in_place": held[node]} for node in nodes], "refused": problems})
    else:
        for node in nodes:
            click.echo(f"{shown(node)}: {'in place' if held[node] else 'not all in place'}")
    if not all(held.values()):
        did_not_hold()
