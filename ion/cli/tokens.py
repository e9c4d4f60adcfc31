"""``ion tokens``: who may report to the server, and ask it."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, shown, when

if TYPE_CHECKING:
    from collections.abc import Sequence

_YEAR_US = 365 * 86_400_000_000


@click.group(name="tokens")
def command() -> None:
    """Issue and revoke the tokens that `ion server` asks for.

    Example: ion tokens list
    """


@command.command(name="new")
@click.option("--role", "roles", multiple=True, default=["agent"], show_default=True, help=(
    "agent reports, reader asks, auditor also sees the ledger, admin may do all. Several may be given."
))  # fmt: skip
@click.option("--agent", "agents", multiple=True, help="Pattern of the agents that may report, e.g. 'spark-*'.")
@click.option("--ion", "ions", multiple=True, help="ION that may be reported about; '*' in quotes: any.")
@click.option("--node", "nodes", multiple=True, help="Node (ion/node) that may be reported about.")
@click.option("--until", default="", help="Until when it counts; a year by default.")
@json_option
def new(
    roles: Sequence[str], agents: Sequence[str], ions: Sequence[str], nodes: Sequence[str], until: str, *, as_json: bool
) -> None:
    """Issue a token. Its secret is shown now and never again: only a digest of it is kept.

    Example: ion tokens new --agent 'spark-*' --ion patient_tests --until 2027-01-31
    """
    from ion.cli.signing import time_of
    from ion.clock import now_us, rfc3339
    from ion.server.tokens import issue

    ends = time_of(until) if until else now_us() + _YEAR_US
    covered = [*("*" if ion == "*" else f"{ion}/*" for ion in ions), *nodes]
    with opened() as asked:
        token, secret = issue(asked.store, roles, agents, covered, until=ends, by=getpass.getuser())
    if as_json:
        told = {"token": token, "secret": secret, "roles": list(roles), "agents": list(agents), "nodes": covered}
        print_json(told | {"until": rfc3339(ends)})
    else:
        click.echo(secret)
        click.echo(f"Token {token}, until {when(rfc3339(ends))}. The line above is not shown again.", err=True)


@command.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List all tokens: what they allow, and whether they still count.

    Example: ion tokens list
    """
    from ion.clock import rfc3339
    from ion.server.tokens import known_tokens

    with opened() as asked:
        tokens = known_tokens(asked.store)
    if as_json:
        rows = [
            {
                "token": each.issued.token,
                "roles": list(each.issued.roles),
                "agents": list(each.issued.agents),
                "nodes": list(each.issued.nodes),
                "issued": rfc3339(each.us),
                "by": each.issued.by,
                "until": rfc3339(each.issued.until),
                "problem": each.problem or None,
            }
            for each in tokens
        ]
        print_json({"tokens": rows})
        return
    out = console()
    if not tokens:
        out.print("No token was issued yet.")
    for each in tokens:
        fact = each.issued
        covers = f"agents {' '.join(fact.agents) or '-'}, nodes {' '.join(fact.nodes) or '-'}"
        line = f"{fact.token}  {'+'.join(fact.roles)}  {covers}, until {when(rfc3339(fact.until))}, by {fact.by}"
        out.print(shown(line + (f"  ✗ {each.problem}" if each.problem else "")), soft_wrap=True)


@command.command(name="revoke")
@click.argument("token")
@click.option("--reason", required=True, help="Why; it is kept with your user name.")
@json_option
def revoke(token: str, reason: str, *, as_json: bool) -> None:
    """Revoke TOKEN, an id as in `ion tokens list`. It counts no longer from now on, at every server.

    Example: ion tokens revoke 0193f3a2-7c93-7911-8a6e-06ff3ee1fb94 --reason "host was replaced"
    """
    from ion.server.tokens import revoke as revoked

    with opened() as asked:
        changed = revoked(asked.store, token, reason=reason, by=getpass.getuser())
    if as_json:
        print_json({"token": token, "revoked": changed})
    else:
        console().print(shown(f"{token} is revoked." if changed else f"{token} was revoked before."))
    if not changed:
        did_not_hold()
