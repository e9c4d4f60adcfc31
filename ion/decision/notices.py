"""What people are told: a sentence for each fact that somebody may have to act on, and where to look."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING
from urllib.parse import quote

from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    ApprovalGiven,
    DecisionMade,
    Fact,
    ModelRevoked,
    NodeHalted,
    Promoted,
    ReviewDrawn,
    RolledBack,
)

if TYPE_CHECKING:
    from ion.records import Recorded
    from ion.store import GovernanceStore

UNDELIVERED = "notification-undelivered"
"""The alert that a channel gave something up; its ``about`` names the channel, which is not told."""

KINDS: tuple[type[Fact], ...] = (
    DecisionMade,
    Promoted,
    RolledBack,
    NodeHalted,
    ModelRevoked,
    ApprovalGiven,
    ReviewDrawn,
    AdmissionRefused,
    AlertRaised,
)
"""The facts that are told."""

_LONGEST = 600
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_NODE = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?\Z")


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell: ``fact`` is the id of the fact, ``place`` the page about it, ``us`` when it happened."""

    fact: str
    position: int
    us: int
    event: str
    text: str
    place: str
    not_on: str = ""


def notice_of(record: Recorded[Fact]) -> Notice:
    """Return what to tell of a fact of one of `KINDS`.

    Raises:
        TypeError: it is of another kind.
    """
    event, text = _told(record.fact)
    undelivered = isinstance(record.fact, AlertRaised) and record.fact.alert == UNDELIVERED
    not_on = record.fact.about if undelivered and isinstance(record.fact, AlertRaised) else ""
    return Notice(record.id, record.position, record.us, event, _one_line(text), _place(record.fact), not_on)


def notices(store: GovernanceStore, after: int, limit: int) -> list[Notice]:
    """Return the first ``limit`` things to tell after a position, in store order."""
    found = [record for kind in KINDS for record in store.find(kind, after=after, limit=limit)]
    found.sort(key=lambda record: record.position)
    return [notice_of(record) for record in found[:limit]]


@singledispatch
def _told(fact: Fact) -> tuple[str, str]:
    message = f"a {type(fact).__name__} is not told to people"
    raise TypeError(message)


@_told.register(DecisionMade)
def _(fact: DecisionMade) -> tuple[str, str]:
    against = [str(reason.get("message")) for reason in fact.reasons if reason.get("verdict") != "approve"]
    because = f": {'; '.join(against)}" if against else ""
    model = _short(fact.model)
    if fact.verdict == "defer":
        return "pending", f"Model {model} waits for people before it may serve {fact.node}{because}"
    verb = "approved" if fact.verdict == "approve" else "rejected"
    return "decided", f"{fact.policy_set} {verb} model {model} for {fact.node}{because}"


@_told.register(Promoted)
def _(fact: Promoted) -> tuple[str, str]:
    instead = f" instead of {_short(fact.previous)}" if fact.previous else ""
    return "decided", f"{fact.node} serves model {_short(fact.model)}{instead} from now on (serial {fact.serial})"


@_told.register(RolledBack)
def _(fact: RolledBack) -> tuple[str, str]:
    return "decided", f"{fact.node} went back to model {_short(fact.model)}, by {fact.by}: {fact.reason}"


@_told.register(NodeHalted)
def _(fact: NodeHalted) -> tuple[str, str]:
    return "decided", f"{fact.node} was halted by {fact.by}: {fact.reason}"


@_told.register(ModelRevoked)
def _(fact: ModelRevoked) -> tuple[str, str]:
    return "decided", f"Model {_short(fact.model)} was revoked for {fact.node} by {fact.by}: {fact.reason}"


@_told.register(ApprovalGiven)
def _(fact: ApprovalGiven) -> tuple[str, str]:
    verb = {"approve": "approved", "reject": "rejected", "withdraw": "withdrew the approval of"}
    done = verb.get(fact.verdict, fact.verdict)
    return "decided", f"{fact.person} {done} model {_short(fact.model)} for {fact.node}: {fact.reason}"


@_told.register(ReviewDrawn)
def _(fact: ReviewDrawn) -> tuple[str, str]:
    return (
        "pending",
        f"The automatic approval of model {_short(fact.model)} for {fact.node} waits for a person's review",
    )


@_told.register(AdmissionRefused)
def _(fact: AdmissionRefused) -> tuple[str, str]:
    return "refused", f"The gate of {fact.node} refused what its pointer names, at step {fact.step}: {fact.reason}"


@_told.register(AlertRaised)
def _(fact: AlertRaised) -> tuple[str, str]:
    event = "drifted" if "drift" in fact.alert else "alert"
    scope = _short(fact.scope) if _DIGEST.match(fact.scope) else fact.scope
    return event, f"Alert {fact.alert} on {scope}: {fact.message}"


def _place(fact: Fact) -> str:
    """Return the page about a fact, under the governance page."""
    about = getattr(fact, "model", "") or getattr(fact, "scope", "") or getattr(fact, "node", "")
    if _DIGEST.match(about):
        return f"/models/{about}"
    return f"/ions/{quote(about.partition('/')[0])}" if _NODE.match(about) and "/" in about else "/"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _one_line(text: str) -> str:
    """Return what a text says without what could change how it is shown; agents write some of them."""
    plain = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
