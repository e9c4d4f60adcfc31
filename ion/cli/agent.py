"""``ion agent``: carry what the programs of this host have spooled."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.answering import did_not_hold
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent.receiver import OwnReceiver
    from ion.facts import AdmissionRefused
    from ion.serving.courier import Courier


@click.command(name="agent")
@click.option(
    "--spool",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder `spool` of a state folder. [default: that of ION_HOME]",
)
@click.option(
    "--to", "url", default="", help="The store or the server, by URL. [default: ION_STORE_URL, or the state folder's]"
)
@click.option("--name", default="", help="What the agent calls itself. [default: one that stays with the spool]")
@click.option("--node", "nodes", multiple=True, help="Also bring what this ion/node serves with, from the server.")
@click.option("--once", is_flag=True, help="Ship what waits now, and end; exit with 1 if that cannot be.")
def command(spool: Path | None, url: str, name: str, nodes: tuple[str, ...], *, once: bool) -> None:
    """Ship what all programs of this host have spooled, until stopped.

    One per host and spool; programs then open their clients with ship=False, or ship beside it. While the store
    cannot be reached, facts wait. SIGTERM ends it; nothing is lost by any other end.

    Example: ion agent --to https://governance.example:8765
    """
    from ion.agent.standalone import Standalone

    home = _home_of(spool)
    receiver = _receiver(url or home.server_url or home.store_url)
    courier = _courier(home, nodes, url or home.server_url, lambda fact: agent.tell(fact))  # noqa: PLW0108 - made below
    agent = Standalone(home, receiver, name)
    held = True
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    click.echo(f"Agent {agent.name} ships {home.spool}", err=True)
    try:
        if once:
            held = _brought(courier)
        else:
            courier.start()
        shipped = agent.run(once=once)
    finally:
        courier.stop()
        receiver.close()
    click.echo(f"{shipped} facts shipped" + (f"; the rest waits: {agent.trouble}" if agent.trouble else ""))
    if once and (agent.trouble or not held):
        did_not_hold()


def _home_of(spool: Path | None) -> Home:
    if spool is None:
        return Home.find()
    found = spool.resolve()
    if found.name != "spool":
        hint = "give the folder `spool` itself: <state folder>/spool"
        raise IonError("bad-spool-folder", f"not the spool of a state folder: {spool}", hint)
    return Home(found.parent)


def _courier(home: Home, nodes: tuple[str, ...], url: str, tell: Callable[[AdmissionRefused], object]) -> Courier:
    from ion.serving.courier import Courier

    if nodes and not url.startswith(("https://", "http://")):
        raise IonError("bad-store-url", "a node's pointer comes from a server, by URL", "give --to https://host:port")
    return Courier(home, nodes, url, tell)


def _brought(courier: Courier) -> bool:
    try:
        return all(courier.bring().values())
    except IonError as error:
        click.echo(f"ion: {error}", err=True)
        return False


def _receiver(url: str) -> OwnReceiver:
    from ion.agent.receiver import StoreReceiver
    from ion.agent.remote import RemoteReceiver

    return RemoteReceiver.of(url) if url.startswith(("https://", "http://")) else StoreReceiver.of(url)
