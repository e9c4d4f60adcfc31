"""Tokens: issued, revoked and recognised by facts alone. The secret is shown once and kept nowhere."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Malformed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ion.canonical import digest_bytes
from ion.clock import now_us, rfc3339
from ion.errors import IonError
from ion.facts import TokenIssued, TokenRevoked
from ion.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.store import GovernanceStore

Role = Literal["agent", "reader", "auditor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
_PREFIX = "ion1_"
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is known; ``revoked`` is why, empty while it is not."""

    issued: TokenIssued
    us: int
    revoked: str

    @property
    def problem(self) -> str:
        """Why it counts no longer; empty while it does."""
        if self.revoked:
            return f"it was revoked: {self.revoked}"
        return f"it ran out at {rfc3339(self.issued.until)}" if self.issued.until <= now_us() else ""


def issue(
    store: GovernanceStore, roles: Sequence[str], agents: Sequence[str], nodes: Sequence[str], *, until: int, by: str
) -> tuple[str, str]:
    """Issue a token and return its id and its secret.

    Raises:
        IonError: ``bad-token-scope`` when it would allow nothing, or is no scope.
    """
    _check_scope(roles, agents, nodes, until)
    data = secrets.token_bytes(_SECRET_BYTES)
    identity = new_id()
    fact = TokenIssued(
        token=identity,
        verifier=digest_bytes(data),
        roles=tuple(roles),
        agents=tuple(agents),
        nodes=tuple(nodes),
        until=until,
        by=by,
    )
    with store.command() as command:
        command.record(fact)
    return identity, _PREFIX + urlsafe_b64encode(data).rstrip(b"=").decode()


def revoke(store: GovernanceStore, token: str, *, reason: str, by: str) -> bool:
    """Revoke a token; False when it was already.

    Raises:
        IonError: ``unknown-token``.
    """
    with store.command() as command:
        if not command.find(TokenIssued, token, limit=1):
            raise IonError("unknown-token", f"no token has the id {token}", "`ion tokens list` shows them")
        if command.find(TokenRevoked, token, limit=1):
            return False
        command.record(TokenRevoked(token=token, reason=reason, by=by))
    return True


def known_tokens(store: GovernanceStore) -> list[Token]:
    """Return all tokens, oldest first."""
    revoked = {record.fact.token: record.fact.reason for record in store.find(TokenRevoked)}
    return [Token(r.fact, r.us, revoked.get(r.fact.token, "")) for r in store.find(TokenIssued)]


def recognised(store: GovernanceStore, secret: str) -> Token:
    """Return the token that has this secret, if it counts now.

    Raises:
        IonError: ``token-refused``.
    """
    hint = "`ion tokens new` issues one; where it must stand says docs/how-to/run-a-server.md"
    try:
        data = urlsafe_b64decode(secret.removeprefix(_PREFIX) + "=")
    except (Malformed, ValueError):
        data = b""
    if not secret.startswith(_PREFIX) or len(data) != _SECRET_BYTES:
        raise IonError("token-refused", "this is no token of a governance server", hint)
    verifier = digest_bytes(data)
    found = [record for record in store.find(TokenIssued, verifier) if record.fact.verifier == verifier]
    if not found:
        raise IonError("token-refused", "no such token was issued", hint)
    revoked = store.latest(TokenRevoked, found[0].fact.token)
    token = Token(found[0].fact, found[0].us, revoked.fact.reason or "no reason given" if revoked else "")
    if token.problem:
        raise IonError("token-refused", f"the token {token.issued.token} counts no longer: {token.problem}", hint)
    return token


def _check_scope(roles: Sequence[str], agents: Sequence[str], nodes: Sequence[str], until: int) -> None:
    hint = "a token to report with needs --agent and --ion or --node; '*' in quotes means all"
    if not roles or not set(roles) <= set(ROLES):
        raise IonError("bad-token-scope", f"not roles: {', '.join(roles) or 'none'}", f"choose of {', '.join(ROLES)}")
    if {"agent", "admin"} & set(roles) and not (agents and nodes):
        raise IonError("bad-token-scope", "this token could report nothing", hint)
    if not all(agents) or not all(node == "*" or node.count("/") == 1 for node in nodes):
        raise IonError("bad-token-scope", f"not nodes: {', '.join(nodes)}", "write ion/node, or ion/* for all of one")
    if until <= now_us():
        raise IonError("bad-token-scope", "this token would have run out already", "give a later --until")
