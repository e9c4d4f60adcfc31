"""What the commands that sign share: passphrases, the root key, the trust document that is changed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.evidence import Signer, Trust
    from ion.evidence.trust_document import TrustDocument
    from ion.evidence.trust_signing import TrustPlace

_FIRST_YEAR, _LAST_YEAR = 1971, 2254
"""Microseconds since 1970 are an integer that JSON carries exactly until 2255."""

C = TypeVar("C", bound="Callable[..., object]")


def ask(what: str) -> str:
    """Return a passphrase that a person types; empty where nobody can be asked."""
    if not sys.stdin.isatty():
        return ""
    return str(click.prompt(f"Passphrase of {what}", hide_input=True, err=True))


def new_passphrase(what: str) -> str:
    """Return ``ION_KEY_PASSPHRASE``, else what a person types twice.

    Raises:
        IonError: ``key-passphrase`` where nobody can be asked.
    """
    if known := os.environ.get("ION_KEY_PASSPHRASE"):
        return known
    if not sys.stdin.isatty():
        hint = "set ION_KEY_PASSPHRASE, or say --no-passphrase"
        raise IonError("key-passphrase", f"no passphrase for {what}, and no terminal to ask at", hint)
    return str(click.prompt(f"Passphrase of {what}", hide_input=True, confirmation_prompt=True, err=True))


def person_signer(named: str = "") -> Signer:
    """Return the signer of a person's own key: what is named, else ``ION_KEY``, else the only one there is.

    Raises:
        IonError: ``which-key``, and as `ion.evidence.load_signer`.
    """
    from ion.evidence import load_signer
    from ion.evidence.key_folder import KeyFolder

    return load_signer(KeyFolder.find().uri(named), ask)


def time_of(text: str) -> int:
    """Return microseconds UTC of a date (its beginning) or an RFC 3339 time; without a zone it is UTC.

    Raises:
        IonError: ``bad-time``.
    """
    hint = "write 2027-01-31, or 2027-01-31T08:00:00Z"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise IonError("bad-time", f"not a date or time: {text!r}", hint) from error
    known = found if found.tzinfo else found.replace(tzinfo=UTC)
    if not _FIRST_YEAR <= known.year <= _LAST_YEAR:
        raise IonError("bad-time", f"{text!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}", hint)
    return round(known.timestamp() * 1_000_000)


def shown_time(us: int) -> str:
    """Return a time to the second; empty for one that never comes."""
    from ion.evidence.parsing import MAX_INTEGER

    return "" if us >= MAX_INTEGER else f"{rfc3339(us)[:19]}Z"


def changing(function: C) -> C:
    """Add the options of a command that changes a trust document."""
    for option in (
        click.option("--days", type=click.IntRange(1, 36_500), help="How long the document holds from now on."),
        click.option("--root-key", default="", help="The root key: a signer URI, a file, or a name as in `keys list`."),
        click.option(
            "--trust", "trust", type=click.Path(dir_okay=False, path_type=Path),
            help="Change this file, on a machine without the deployment; then `ion trust install` it there.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Change:
    """Which trust document is changed, by which root key, and for how long the next one holds."""

    home: Home
    place: TrustPlace
    elsewhere: bool
    root_key: str
    days: int | None

    @classmethod
    def of(cls, trust: Path | None, root_key: str, days: int | None) -> Change:
        """Return the change the options name: of ``--trust``, else of the deployment's document."""
        from ion.evidence.trust_signing import TrustPlace

        home = Home.find()
        if trust is None:
            return cls(home, TrustPlace.of(home), elsewhere=False, root_key=root_key, days=days)
        place = TrustPlace(trust.resolve(), trust.resolve().with_name("root.pub.pem"))
        return cls(home, place, elsewhere=True, root_key=root_key, days=days)

    def root(self) -> Signer:
        """Return the root key's signer; by default it is the deployment's own, ``keys/root.pem``.

        Raises:
            IonError: ``root-key-missing``, and as `ion.evidence.load_signer`.
        """
        from ion.evidence import load_signer
        from ion.evidence.key_folder import KeyFolder, file_uri

        if self.root_key:
            return load_signer(KeyFolder.find().uri(self.root_key), ask)
        own = self.home.keys / "root.pem"
        if not own.is_file():
            hint = "name it with --root-key; where it is kept offline, change a copy there (--trust FILE)"
            raise IonError("root-key-missing", "the root key is not in this deployment", hint)
        return load_signer(file_uri(own), ask)

    def sign(self, change: Callable[[TrustDocument], TrustDocument], reason: str = "") -> Trust:
        """Sign and write the changed document, and record that it is in force.

        Raises:
            IonError: as `root`, `TrustPlace.sign` and the change itself.
        """
        trust = self.place.sign(self.root(), change, days=self.days)
        self.record(trust, reason)
        return trust

    def record(self, trust: Trust, reason: str = "") -> None:
        """Record the document where it came into force, if there is a store; governance does so on sight, too."""
        if not self.elsewhere:
            record_trust(trust, reason)


def record_trust(trust: Trust, reason: str) -> None:
    """Record that a trust document is in force here; where no store can be reached yet, governance will."""
    import getpass

    from ion.cli.answering import opened
    from ion.decision.trust_noted import note_trust

    try:
        with opened() as asked:
            note_trust(asked.store, trust, by=getpass.getuser(), reason=reason)
    except IonError as error:
        if error.code not in {"no-home", "store-elsewhere"}:
            click.echo(f"ion: the change is in force, not yet in the record: {error.message}", err=True)


def trust_told(trust: Trust) -> dict[str, object]:
    """Return what every command that changed a trust document says of the new one."""
    document = trust.document
    return {"version": document.version, "digest": trust.digest, "expires": rfc3339(document.expires)}


def key_state(since: int, until: int, revoked: int | None) -> str:
    """Return in a few words whether a key's signatures count now."""
    now = now_us()
    if revoked is not None and now >= revoked:
        return f"revoked from {shown_time(revoked)} on" if revoked else "revoked from the beginning"
    if now >= until:
        return f"ended {shown_time(until)}"
    if now < since:
        return f"counts from {shown_time(since)}"
    return f"counts until {shown_time(until)}" if shown_time(until) else "counts"
