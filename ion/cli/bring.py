"""``ion bring``: what nodes of this machine serve with comes from a server."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from ion.cli.answering import did_not_hold, json_option, print_json, shown
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from ion.facts import AdmissionRefused
    from ion.serving.courier import Courier


@click.command(name="bring")
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@click.option("--once", is_flag=True, help="Bring what stands now, and end.")
@json_option
def command(nodes: tuple[str, ...], *, once: bool, as_json: bool) -> None:
    """Bring what NODEs (ion/node) serve with from the server at ION_STORE_URL, and keep it so.

    Pointers, models and the trust document are verified under the root's public key, which must be
    in this state folder already. Without --once it runs until it is stopped. Exits with 1 when
    something was refused.

    Example: ion bring patient_tests/predictions
    """
    from ion.agent import open_client
    from ion.serving.courier import Courier

    if as_json and not once:
        raise click.UsageError("--json goes with --once")
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
        courier = Courier(home, nodes, home.server_url, tell)
        if not once:
            _keep(courier)
            return
        held = courier.bring()
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


def _keep(courier: Courier) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    courier.start()
    told = ""
    while not stopping.wait(1.0):
        if courier.trouble != told:
            told = courier.trouble
            click.echo(shown(told) if told else "everything is in place", err=True)
    courier.stop()
