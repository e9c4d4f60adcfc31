"""``ion keys``: a person's own keys, and new keys for old."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ion.cli.answering import console, json_option, print_json, short, shown
from ion.cli.signing import Change, changing, key_state, new_passphrase, shown_time, time_of, trust_told
from ion.clock import now_us
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from ion.evidence.key_folder import KeyFolder
    from ion.evidence.trust import Trust
    from ion.evidence.trust_document import Service


@click.group(name="keys")
def command() -> None:
    """Make, list, replace and revoke signing keys (ed25519).

    A person's keys are in $ION_KEYS, by default ~/.config/ion/keys, for that user only.

    Example: ion keys list
    """


@command.command(name="new")
@click.argument("name")
@click.option("--no-passphrase", is_flag=True, help="Leave the file unencrypted, for a key that a machine uses.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the private key here.")
@json_option
def new(name: str, *, no_passphrase: bool, output: Path | None, as_json: bool) -> None:
    """Make a key NAME: NAME.pem, which is private, and NAME.pub.pem, which is handed out.

    The passphrase is asked for, or taken from $ION_KEY_PASSPHRASE. A key that is there is never
    replaced. Hand the public half to whoever holds the root key: `ion trust add`.

    Example: ion keys new anna
    """
    from ion.evidence.key_folder import KeyFolder, make_key, public_path

    own = KeyFolder.find().private(name)  # also a key that goes elsewhere has such a name
    path = output.resolve() if output else own
    if path.is_relative_to(Home.find().root):
        hint = "governance and every program beside it may read what is there; choose a place of your own"
        raise IonError("key-place", f"{path} is in the deployment's state folder", hint)
    public = make_key(path, "" if no_passphrase else new_passphrase(name))
    told = {"name": name, "key": public.key_id, "private": str(path), "public": str(public_path(path))}
    if as_json:
        print_json(told)
        return
    out = console()
    out.print(f"✓ key {short(public.key_id)}", style="green")
    out.print(f"  private  {path}", soft_wrap=True)
    out.print(f"  public   {public_path(path)}", soft_wrap=True)
    out.print(f"  next     whoever holds the root key: ion trust add {name} --key {public_path(path)}", soft_wrap=True)


@command.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List your own keys, and what the deployment's trust document says about each.

    Example: ion keys list --json
    """
    from ion.evidence.key_folder import KeyFolder

    folder = KeyFolder.find()
    trust = _trust_here()
    keys = [_told(folder, name, trust) for name in folder.names()]
    if as_json:
        print_json({"folder": str(folder.path), "keys": keys, "trust": trust_told(trust) if trust else None})
        return
    out = console()
    out.print(f"{folder.path}: {len(keys)} keys" if keys else f"{folder.path}: no key", soft_wrap=True)
    for key in keys:
        roles = f" ({', '.join(cast('list[str]', key['roles']))})" if key["roles"] else ""
        whose = f"{key['person']}{roles}, {key['state']}" if key["person"] else key["state"]
        out.print(shown(f"  {key['name']}  {short(key['key'])}  {whose}"), soft_wrap=True)


@command.command(name="rotate")
@click.argument("name")
@click.option(
    "--key", "public_file", type=click.Path(dir_okay=False, path_type=Path),
    help="Public half of the new key, for `decision` and `ledger`, where it is kept elsewhere (a KMS).",
)  # fmt: skip
@click.option("--no-passphrase", is_flag=True, help="Leave the new file unencrypted.")
@changing
@json_option
def rotate(
    name: str,
    *,
    public_file: Path | None,
    no_passphrase: bool,
    trust: Path | None,
    root_key: str,
    days: int | None,
    as_json: bool,
) -> None:
    """Put a new key in the place of `decision`, `ledger`, or one of your own, NAME.

    The trust document names it from then on. What the old key signed stays valid; it signs no more:
    one of a service counts for one more minute, for what is being signed just now, and its private
    half is destroyed. A running deployment takes the new key by itself.

    Example: ion keys rotate decision
    """
    change = Change.of(trust, root_key, days)
    told: dict[str, object] = {"name": name}
    if name in {"decision", "ledger"}:
        told |= _rotate_service(change, cast("Service", name), public_file)
    elif public_file is not None:
        raise click.UsageError("--key is for `decision` and `ledger`; a person's new key is made here")
    else:
        told |= _rotate_person(change, name, no_passphrase=no_passphrase)
    if as_json:
        print_json(told)
        return
    out = console()
    trusted = told["trust"]
    assert isinstance(trusted, dict)  # noqa: S101 - as made below
    out.print(f"✓ {name} signs with key {short(told['key'])}, trust document {trusted['version']}", style="green")
    if "old" in told:
        out.print(f"  the old key is kept as {told['old']}", soft_wrap=True)


@command.command(name="revoke")
@click.argument("key")
@click.option("--reason", required=True, help="Why; it is kept with your user name.")
@click.option("--since", default="", help="From when on it is not to be believed; `beginning`: never was. Default now.")
@changing
@json_option
def revoke(
    key: str, *, reason: str, since: str, trust: Path | None, root_key: str, days: int | None, as_json: bool
) -> None:
    """Believe no signature of KEY from now on: a key id, or the name of one of your own.

    What it signed before stays valid, unless --since names an earlier time. A signed time is the
    word of whoever held the key: after a theft, name the time of the theft.

    Example: ion keys revoke 3f9a0c1d22e4 --reason "laptop stolen" --since 2027-01-31
    """
    from ion.evidence.trust_changes import find_key, with_revocation

    change = Change.of(trust, root_key, days)
    at = now_us() if not since else 0 if since == "beginning" else time_of(since)
    done = change.sign(partial(with_revocation, key_id=_key_id(key), since=at), reason)
    owner, found = find_key(done.document, _key_id(key))
    key_id = found.public.key_id
    if as_json:
        print_json({"key": key_id, "owner": owner, "revoked": at, "reason": reason, "trust": trust_told(done)})
    else:
        when = shown_time(at) if at else "the beginning"
        told = f"✓ key {short(key_id)} of {owner} is revoked from {when} on, trust document {done.document.version}"
        console().print(shown(told), style="green", soft_wrap=True)


def _rotate_service(change: Change, service: Service, public_file: Path | None) -> dict[str, object]:
    from ion.evidence.public_keys import load_public
    from ion.evidence.rotation import rotate_own_service, rotate_service

    if public_file is not None:
        public = load_public(public_file)
        trust = rotate_service(change.place, change.root(), service, public, days=change.days)
    elif change.elsewhere:
        raise click.UsageError("with --trust, name the new key's public half: --key FILE")
    else:
        public, trust = rotate_own_service(change.home, change.place, change.root(), service, days=change.days)
    change.record(trust, f"a new {service} key")
    return {"key": public.key_id, "trust": trust_told(trust)}


def _rotate_person(change: Change, name: str, *, no_passphrase: bool) -> dict[str, object]:
    from ion.evidence.key_folder import KeyFolder
    from ion.evidence.rotation import rotate_person

    folder = KeyFolder.find()
    folder.public(name)
    root = change.root()
    passphrase = "" if no_passphrase else new_passphrase(name)
    public, trust, old = rotate_person(
        folder, name, change.place, root, passphrase=passphrase, days=change.days
    )  # fmt: skip
    change.record(trust, f"a new key of {name}")
    return {"key": public.key_id, "old": str(old), "trust": trust_told(trust)}


def _key_id(key: str) -> str:
    """Return the key id of an own key's name; a text that is none is taken as the id itself."""
    from ion.evidence.key_folder import KeyFolder

    folder = KeyFolder.find()
    return folder.public(key).key_id if key in folder.names() else key


def _trust_here() -> Trust | None:
    """Return this deployment's trust document, expired or not; None where there is none to be believed."""
    from ion.evidence.trust_signing import TrustPlace

    try:
        return TrustPlace.of(Home.find()).read()
    except IonError:
        return None


def _told(folder: KeyFolder, name: str, trust: Trust | None) -> dict[str, object]:
    told: dict[str, object] = {"name": name, "key": None, "person": None, "roles": [], "state": ""}
    try:
        public = folder.public(name)
    except IonError as error:
        return {**told, "state": error.message}
    told["key"] = public.key_id
    person = trust.person_of(public.key_id) if trust else None
    if trust is None or person is None:
        return {**told, "state": "no trust document here" if trust is None else "not in the trust document"}
    (window,) = [key.window for key in person.keys if key.public == public]
    state = key_state(window.since, window.until, window.revoked)
    times = {"since": window.since, "until": window.until, "revoked": window.revoked}
    return {**told, "person": person.id, "roles": list(person.roles), "state": state, **times}
