"""Who asks: the bearer token of a request, and what its roles allow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.server.tokens import ROLES, Role, recognised
from ion.store import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.store import GovernanceStore

_ALLOWS: Mapping[str, frozenset[Role]] = {
    "agent": frozenset({"agent"}),
    "reader": frozenset({"reader"}),
    "auditor": frozenset({"reader", "auditor"}),
    "admin": frozenset(ROLES),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the token ``scope.token``: the roles it gives, and what it covers."""

    roles: frozenset[Role]
    scope: Scope

    def require_role(self, role: Role) -> None:
        """Refuse whoever does not have the role.

        Raises:
            IonError: ``not-permitted``.
        """
        if role not in self.roles:
            raise IonError("not-permitted", f"this needs a token with the role {role}", "`ion tokens new --role`")

    def require_agent(self, agent: str) -> None:
        """Refuse whoever may not speak in this agent's name.

        Raises:
            IonError: ``not-permitted``.
        """
        if not self.scope.covers_agent(agent):
            raise IonError("not-permitted", f"the token does not cover the agent {agent}"[:300], _ASK)

    def require_node(self, node: str) -> None:
        """Refuse whoever has nothing to do with ``ion/node``.

        Raises:
            IonError: ``not-permitted``.
        """
        if not self.scope.covers_node(node):
            raise IonError("not-permitted", f"the token does not cover the node {node}"[:300], _ASK)


_ASK = "ask for a token whose patterns cover it"


def caller_of(store: GovernanceStore, authorization: str) -> Caller:
    """Return who sends this ``Authorization`` header.

    Raises:
        IonError: ``no-token``, ``token-refused``.
    """
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise IonError("no-token", "this needs a token", "send it as Authorization: Bearer ion1_…")
    issued = recognised(store, secret.strip()).issued
    roles = frozenset(role for name in issued.roles for role in _ALLOWS.get(name, ()))
    return Caller(roles, Scope(issued.token, issued.agents, issued.nodes))
