"""``ion trust``: whose signatures count."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ion.cli.answering import console, did_not_hold, json_option, print_json, short, shown
from ion.cli.signing import Change, changing, key_state, record_trust, shown_time, time_of, trust_told
from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.evidence.public_keys import PublicKey
    from ion.evidence.trust import Trust
    from ion.evidence.trust_document import Role, TrustedKey

_ROLES = click.Choice(["reader", "submitter", "approver", "admin", "auditor"])
_file = click.Path(dir_okay=False, path_type=Path)


@click.group(name="trust")
def command() -> None:
    """Say whose signatures count: people, their roles and keys, and what nodes ask of them.

    The trust document is signed by the root key; every change makes its version one higher.

    Example: ion trust show
    """


@command.command(name="init")
@click.option("--root-key", default="", help="The root key: a signer URI, a file, or a name as in `keys list`.")
@click.option("--days", type=click.IntRange(1, 36_500), default=3650, help="How long the document holds.")
@click.option("--trust", "trust_path", type=_file, help="Write this file, on a machine without the deployment.")
@click.option("--decision-key", type=_file, help="With --trust: public half of the key that signs decisions.")
@click.option("--ledger-key", type=_file, help="With --trust: public half of the key that signs checkpoints.")
@click.option("--model-key", type=_file, help="With --trust: public half (EC P-256) of the key of model signatures.")
@json_option
def init(
    root_key: str,
    days: int,
    trust_path: Path | None,
    decision_key: Path | None,
    ledger_key: Path | None,
    model_key: Path | None,
    *,
    as_json: bool,
) -> None:
    """Found trust, or sign what is there anew: for more days, or under another root key.

    A deployment founds its trust by itself when governance first starts, with all keys beside it.
    Use this to begin with a root key that is kept elsewhere, or to change over to one.

    Example: ion trust init --root-key file:/media/safe/root.pem --days 365
    """
    from ion.cli.trust_founding import found_elsewhere, init_here

    if trust_path is None:
        if decision_key or ledger_key or model_key:
            raise click.UsageError("the deployment knows its own keys; name them with --trust only")
        trust = init_here(root_key, days)
        record_trust(trust, "signed by the root anew")
    else:
        change = Change.of(trust_path, root_key, days)
        trust = found_elsewhere(change, days, decision_key, ledger_key, model_key)
    _done(trust, as_json=as_json)


@command.command(name="add")
@click.argument("person")
@click.option("--name", default="", help="For people to read; needed for a new person.")
@click.option("--role", "roles", type=_ROLES, multiple=True, help="What the person may do; replaces the roles before.")
@click.option("--alias", "aliases", multiple=True, help="Another name of the person: e-mail address, user name.")
@click.option("--key", "public_file", type=_file, help="The person's public key, PEM or OpenSSH; adds to those before.")
@click.option("--until", default="", help="From when on signatures of this key count no more.")
@changing
@json_option
def add(  # noqa: PLR0913, PLR0917 - one option each
    person: str,
    name: str,
    roles: tuple[Role, ...],
    aliases: tuple[str, ...],
    public_file: Path | None,
    until: str,
    trust: Path | None,
    root_key: str,
    days: int | None,
    *,
    as_json: bool,
) -> None:
    """Add PERSON, or add to what is known of PERSON.

    Name the e-mail address and the user names the person trains models under as aliases: nobody
    approves a model that goes by one of the own names.

    Example: ion trust add anna --name "Anna Weber" --role approver --key anna.pub.pem --alias anna@example.org
    """
    from ion.evidence.parsing import MAX_INTEGER
    from ion.evidence.public_keys import load_public
    from ion.evidence.trust_changes import with_person

    key = load_public(public_file) if public_file else None
    end = time_of(until) if until else MAX_INTEGER
    added = partial(
        with_person, person=person, name=name, roles=roles, aliases=aliases, key=key, at=now_us(), until=end
    )  # fmt: skip
    _done(Change.of(trust, root_key, days).sign(added, f"{person} added or changed"), as_json=as_json)


@command.command(name="remove")
@click.argument("person")
@click.option("--reason", default="", help="Why; it is kept with your user name.")
@changing
@json_option
def remove(person: str, reason: str, trust: Path | None, root_key: str, days: int | None, *, as_json: bool) -> None:
    """Remove PERSON: nothing this person ever signed counts any more.

    Models that this person's approval was needed for are not admitted any longer. To let earlier
    approvals stand and end only what comes, revoke the person's key: `ion keys revoke`.

    Example: ion trust remove anna --reason "was never entitled"
    """
    from ion.evidence.trust_changes import without_person

    change = Change.of(trust, root_key, days)
    _done(change.sign(partial(without_person, person=person), reason or f"{person} removed"), as_json=as_json)


@command.command(name="require")
@click.argument("node")
@click.option("--role", type=_ROLES, default="approver", help="In which role.")
@click.option("--quorum", type=click.IntRange(0, 100), required=True, help="How many people; 0: none any more.")
@changing
@json_option
def require(
    node: str, role: Role, quorum: int, trust: Path | None, root_key: str, days: int | None, *, as_json: bool
) -> None:
    """Ask approvals by people for every model of NODE (ion/node), whatever its policy set asks.

    The gate holds it: not even the key that signs decisions gets a model past it.

    Example: ion trust require patient_tests/predictions --role approver --quorum 2
    """
    from ion.evidence.trust_changes import with_requirement

    change = Change.of(trust, root_key, days)
    asked = partial(with_requirement, node=node, role=role, quorum=quorum)
    _done(change.sign(asked, f"{node}: {quorum} in the role {role}"), as_json=as_json)


@command.command(name="show")
@click.option("--trust", "trust_path", type=_file, help="Show this file instead of the deployment's document.")
@click.option("--root", type=_file, help="Public root key to check it with; default: the one pinned beside it.")
@json_option
def show(trust_path: Path | None, root: Path | None, *, as_json: bool) -> None:
    """Show the trust document, if the root signed it. Exits with 1 when it is not to be believed.

    Example: ion trust show --trust trust.json --root root.pub.pem
    """
    from ion.evidence.public_keys import load_public

    place = Change.of(trust_path, "", None).place
    try:
        trust = place.read(load_public(root) if root else None)
    except IonError as error:
        if error.code != "trust-unverified":
            raise
        _not_believed(error, as_json=as_json)
        return
    expired = now_us() >= trust.document.expires
    if as_json:
        print_json({"verified": not expired, "reason": "it has expired" if expired else None, **_content(trust)})
    else:
        _print(trust, expired=expired)
    if expired:
        did_not_hold()


@command.command(name="install")
@click.argument("file", type=_file)
@click.option("--root", type=_file, help="Public root key: to pin a first one, or to change over to another.")
@click.option("--reason", default="", help="Why; it is kept with your user name.")
@json_option
def install(file: Path, root: Path | None, reason: str, *, as_json: bool) -> None:
    """Put a trust document in force that was signed elsewhere, where the root key is.

    It must be under the pinned root, not expired, and of a higher version than the one in force.

    Example: ion trust install trust.json --reason "Ben is an approver now"
    """
    from ion.evidence.envelope import MAX_ENVELOPE
    from ion.evidence.files import read_regular
    from ion.evidence.public_keys import load_public
    from ion.evidence.trust_signing import TrustPlace

    try:
        envelope = read_regular(file, MAX_ENVELOPE)
    except OSError as error:
        raise IonError("trust-missing", f"cannot read {file}: {error.strerror}") from error
    trust = TrustPlace.of(Home.find()).install(envelope, load_public(root) if root else None)
    record_trust(trust, reason or "installed")
    _done(trust, as_json=as_json)


def _done(trust: Trust, *, as_json: bool) -> None:
    if as_json:
        print_json(trust_told(trust))
    else:
        document = trust.document
        told = f"✓ trust document {document.version}, until {shown_time(document.expires)}"
        console().print(told, style="green")


def _not_believed(error: IonError, *, as_json: bool) -> None:
    if as_json:
        print_json({"verified": False, "reason": error.message})
    else:
        console().print(shown(f"✗ {error.message}"), style="red", soft_wrap=True)
    did_not_hold()


def _content(trust: Trust) -> dict[str, object]:
    document = trust.document
    people = [
        {"id": each.id, "name": each.name, "roles": list(each.roles), "aliases": list(each.aliases)}
        | {"keys": _keys(each.keys)}
        for each in document.people
    ]
    return {
        "version": document.version,
        "digest": trust.digest,
        "root": trust.signed_by,
        "issued": rfc3339(document.issued),
        "expires": rfc3339(document.expires),
        "services": {name: _keys(keys) for name, keys in document.services.items()},
        "people": people,
        "requirements": [each.to_json() for each in document.requirements],
        "models": list(document.models),
    }


def _keys(keys: Sequence[TrustedKey]) -> list[dict[str, object]]:
    return [{"key": key.public.key_id, **_times(key)} for key in keys]


def _times(key: TrustedKey) -> dict[str, object]:
    window = key.window
    state = key_state(window.since, window.until, window.revoked)
    return {"since": window.since, "until": window.until, "revoked": window.revoked, "state": state}


def _print(trust: Trust, *, expired: bool) -> None:
    out = console()
    document = trust.document
    head = (
        f"trust document {document.version} under root {short(trust.signed_by)}, issued {shown_time(document.issued)}"
    )
    end = "expired" if expired else "until"
    mark, style = ("✗", "red") if expired else ("✓", "green")
    out.print(f"{mark} {head}, {end} {shown_time(document.expires)}", style=style, soft_wrap=True)
    for service, keys in document.services.items():
        for key in keys:
            out.print(_line(service, key.public, _times(key)), soft_wrap=True)
    for person in document.people:
        names = f" ({', '.join(person.aliases)})" if person.aliases else ""
        roles = ", ".join(person.roles) or "no role"
        out.print(shown(f"  {person.id}: {person.name}{names}, {roles}"), soft_wrap=True)
        for key in person.keys:
            out.print("  " + _line("key", key.public, _times(key)), soft_wrap=True)
    for asked in document.requirements:
        out.print(f"  {asked.node} asks {asked.quorum} in the role {asked.role}", soft_wrap=True)


def _line(what: str, public: PublicKey, times: dict[str, object]) -> str:
    return f"  {what}  {short(public.key_id)}  {cast('str', times['state'])}"
