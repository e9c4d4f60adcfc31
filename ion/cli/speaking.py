"""What approving, rejecting and withdrawing share: it is shown, signed by the person's own key, recorded."""

from __future__ import annotations

import sys
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ion.cli.answering import Opened, console, did_not_hold, items, opened, print_json, short, shown, when
from ion.cli.signing import person_signer, time_of
from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.evidence.approvals import ApprovalStatement, Word
    from ion.evidence.keys import Signer
    from ion.evidence.trust import Trust
    from ion.graph.catalogue import Entry

DAY_US = 86_400_000_000
DAYS = 90
_FULL = 64 + len("sha256:")


@dataclass(frozen=True, slots=True)
class Speech:
    """What a person says on the command line, before it is signed."""

    word: Word
    model: str
    node: str
    reason: str
    until: str
    key: str
    person: str


def speaking(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a command that signs a statement about a model."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else."),
        click.option("--yes", is_flag=True, help="Sign without asking."),
        click.option("--print", "only_print", is_flag=True, help="Only print the statement, for Dagster's launchpad."),
        click.option("--person", default="", help="Your id in the trust document; the key tells it, too."),
        click.option("--key", default="", help="Your key: a name as in `ion keys list`, a file, or a signer URI."),
        click.option("--until", default="", help=f"Until when it counts; {DAYS} days by default."),
        click.option("--reason", required=True, help="Why; it is signed with the rest."),
        click.option("--node", required=True, help="Where the model would serve: ion/node."),
        click.argument("model"),
    ):  # fmt: skip
        function = option(function)
    return function


def speak(speech: Speech, *, only_print: bool, yes: bool, as_json: bool) -> None:
    """Sign what a person says, and record it or print it.

    Raises:
        IonError: ``unknown-model``, ``unknown-person``, ``bad-time``, and codes of the key.
    """
    from ion.evidence import load_trust
    from ion.evidence.approvals import sign_approval

    signer = person_signer(speech.key)
    if only_print and len(speech.model) == _FULL:  # nothing but the key is needed
        statement = _statement(speech, speech.model, speech.person or _person(load_trust(Home.find()), signer))
        click.echo(b64encode(sign_approval(statement, signer)).decode())
        return
    with opened() as asked:
        from ion.graph import find_model
        from ion.graph.pending import counted

        trust = load_trust(asked.home)
        statement = _statement(speech, find_model(asked.store, speech.model), speech.person or _person(trust, signer))
        if sys.stdin.isatty() and not yes:
            _show(asked, statement)
            click.confirm("Sign this?", abort=True, err=True)
        envelope = sign_approval(statement, signer)
        if only_print:
            click.echo(b64encode(envelope).decode())
            return
        try:
            _record(asked, trust, envelope)
        except IonError as error:
            if error.code != "approval-refused":
                raise
            _refused(error, as_json=as_json)
            return
        stands = counted(asked.store, trust, statement.model, statement.address)
    told: dict[str, object] = {
        "approval": statement.id,
        "word": statement.word,
        "model": statement.model,
        "node": statement.address,
        "person": statement.person,
        "key": signer.public.key_id,
        "reason": statement.reason,
        "until": rfc3339(statement.until),
        "asked": stands,
    }
    if as_json:
        print_json(told)
    else:
        _print(statement, stands)


def _print(statement: ApprovalStatement, stands: list[dict[str, object]]) -> None:
    out = console()
    word = {"approve": "approves", "reject": "rejects", "withdraw": "withdraws what was said about"}[statement.word]
    line = f"{statement.person} {word} {short(statement.model)} for {statement.address}: {statement.reason}"
    out.print(shown(line), soft_wrap=True, style="red" if statement.word == "reject" else "green")
    for each in stands:
        names = ", ".join(map(str, items(each["approved"]))) or "nobody yet"
        out.print(shown(f"  {each['quorum']} in the role {each['role']}: {names}"), soft_wrap=True)
        for reason in items(each["not_counted"]):
            out.print(shown(f"  not counted: {reason}"), style="yellow", soft_wrap=True)


def _refused(error: IonError, *, as_json: bool) -> None:
    """Say that a statement was looked at and does not count: an answer, not a wrong use of the command."""
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        click.echo(f"ion: {error}", err=True)
    did_not_hold()


def _record(asked: Opened, trust: Trust, envelope: bytes) -> None:
    from ion.decision.approving import Approving
    from ion.evidence import ArtifactStore
    from ion.graph import assignments

    taken = Approving(
        asked.store, ArtifactStore(asked.home.artifacts), trust, lambda node: assignments(asked.store, node)
    )
    taken.record(envelope)


def _statement(speech: Speech, model: str, person: str) -> ApprovalStatement:
    from ion.evidence.approvals import ApprovalStatement
    from ion.ids import checked_node, new_id

    ion, _, node = checked_node(speech.node).partition("/")
    now = now_us()
    until = time_of(speech.until) if speech.until else now + DAYS * DAY_US
    return ApprovalStatement(
        id=new_id(),
        ion=ion,
        node=node,
        model=model,
        person=person,
        word=speech.word,
        reason=speech.reason,
        issued=now,
        until=until,
    )


def _person(trust: Trust, signer: Signer) -> str:
    person = trust.person_of(signer.public.key_id)
    if person is None:
        hint = "ask whoever holds the root key: `ion trust add PERSON --role approver --key FILE`"
        raise IonError("unknown-person", f"the trust document knows no key {short(signer.public.key_id)}", hint)
    return person.id


def _show(asked: Opened, statement: ApprovalStatement) -> None:
    """Show what is about to be signed, and what is known of it."""
    from ion.graph import catalogue

    out = console()
    out.print(shown(f"{statement.word} {statement.model}\nfor {statement.address}, as {statement.person}"))
    out.print(shown(f"until {when(rfc3339(statement.until))}: {statement.reason}"))
    found: list[Entry] = [entry for entry in catalogue(asked.store) if entry.model == statement.model]
    for entry in found[:1]:
        metrics = ", ".join(f"{name} {value}" for name, value in sorted(entry.metrics.items()))
        out.print(shown(f"trained {when(rfc3339(entry.trained))} by {entry.node}: {metrics}"))
        for reason in entry.reasons:
            mark = {"approve": "✓", "reject": "✗"}.get(str(reason.get("verdict")), "…")
            out.print(shown(f"  {mark} {reason.get('policy')}: {reason.get('message')}"), soft_wrap=True)
