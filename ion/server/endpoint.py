"""One route: who may ask, with which parameters, and what answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ion.errors import IonError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from ion.agent.receiver import StoreReceiver
    from ion.home import Home
    from ion.server.access import Caller
    from ion.server.bounds import Bounds, Load
    from ion.server.metering import Meters
    from ion.server.tokens import Role
    from ion.store import GovernanceStore

Answer = Mapping[str, object]
_NUMBER = re.compile(r"[0-9]{1,16}\Z")


@dataclass(frozen=True, slots=True)
class Deployment:
    """What every request shares: the home, its store (opened when it can be reached), bounds and counters."""

    home: Home
    receiver: StoreReceiver
    bounds: Bounds
    load: Load
    meters: Meters

    def store(self) -> GovernanceStore:
        """Return the store.

        Raises:
            IonError: ``store-unreachable``; as `ion.store.open_store`.
        """
        return self.receiver.opened()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter; ``largest`` bounds a number, ``default`` is taken where it is missing."""

    name: str
    description: str
    kind: Literal["string", "integer"] = "string"
    default: int | str = ""
    largest: int = 2**53 - 1
    several: bool = False

    def read(self, given: list[str]) -> str | int:
        """Return the value.

        Raises:
            IonError: ``bad-request``.
        """
        if not given:
            return self.default
        if len(given) > 1 and not self.several:
            raise IonError("bad-request", f"the parameter {self.name} was given {len(given)} times")
        text = ",".join(given)
        if "\0" in text:
            raise IonError("bad-request", f"the parameter {self.name} holds a character that no name has")
        if self.kind == "string":
            return text
        if not _NUMBER.match(text) or int(text) > self.largest:
            problem = f"the parameter {self.name} is {text[:30]!r}, not a number from 0 to {self.largest}"
            raise IonError("bad-request", problem)
        return int(text)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, by somebody who may make it: its ``path`` and ``query`` parameters by name, already checked."""

    request: Request
    deployment: Deployment
    caller: Caller | None
    path: Mapping[str, str]
    query: Mapping[str, str | int]

    @property
    def store(self) -> GovernanceStore:
        """The store; raises as `Deployment.store`."""
        return self.deployment.store()

    @property
    def by(self) -> Caller:
        """Who asks, at an endpoint that needs a role.

        Raises:
            IonError: ``no-token``.
        """
        if self.caller is None:
            raise IonError("no-token", "this needs a token")
        return self.caller

    def given(self, name: str) -> bool:
        """Tell whether a parameter was given, be it empty."""
        return name in self.request.query_params

    def text(self, name: str) -> str:
        """Return a text parameter."""
        return str(self.query[name])

    def number(self, name: str) -> int:
        """Return a number parameter."""
        return int(self.query[name])


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route of the server.

    Args:
        method: HTTP method.
        path: as in Starlette and OpenAPI, with ``{name}`` parts.
        answer: a function, which runs in a thread, or a coroutine function, which must not block. Gives a
            JSON object or a response.
        summary: one sentence, for the OpenAPI document.
        role: who may ask; None: everybody who reaches the server.
        query: its parameters; others are refused.
        body: media type of what is sent to it; empty for nothing.
        answers: media type of the answer.
        slot: which of the bounds on simultaneous requests it falls under; ``none`` for those that wait long.
    """

    method: str
    path: str
    answer: Callable[[Asked], Answer | Response] | Callable[[Asked], Awaitable[Answer | Response]]
    summary: str
    role: Role | None
    query: tuple[Parameter, ...] = ()
    body: str = ""
    answers: str = "application/json"
    slot: Literal["ingest", "question", "none"] = "question"
