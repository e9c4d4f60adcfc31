"""Threads that keep the pointers of nodes here as the server has them, for as long as a process lives."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from ion.agent.fetching import ServerLink, token_of_environment
from ion.serving.bringing import Bringer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.facts import AdmissionRefused
    from ion.home import Home

WAIT_S = 25
"""How long the server may hold a question that has no new answer: less than what proxies cut off."""

_SHORTEST_S = 0.05
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class Courier:
    """Brings pointers and what they name, in one thread for each node.

    Cut off, it asks again with growing, jittered pauses, up to half a minute, and invents nothing: what serves
    goes on as the lease of its pointer says.

    Args:
        home: where they go.
        nodes: each ``ion/node``.
        url: of the server.
        tell: records what was refused.
        token: returns the secret.
        run: of the process that serves, if it is this one.

    Raises:
        IonError: ``bad-node``, ``insecure-url``, ``bad-store-url``.
    """

    def __init__(
        self,
        home: Home,
        nodes: Sequence[str],
        url: str,
        tell: Callable[[AdmissionRefused], object],
        *,
        token: Callable[[], str] = token_of_environment,
        run: str = "",
    ) -> None:
        self._ways = []
        for node in nodes:
            link, second = ServerLink(url, token), ServerLink(url, token)
            self._ways.append(_Way(node, Bringer(home, node, link, second, tell, run), (link, second)))

    def bring(self) -> dict[str, bool]:
        """Ask once, without threads; say for each node whether all that the server has is here.

        Raises:
            IonError: as `Bringer.look`.
        """
        try:
            return {way.node: way.look() for way in self._ways}
        finally:
            for way in self._ways:
                way.close()

    def start(self) -> None:
        """Begin to ask."""
        for way in self._ways:
            way.thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until all that the server has is here; False when that did not come about."""
        give_up = time.monotonic() + seconds
        return all(way.settled.wait(max(give_up - time.monotonic(), 0.0)) for way in self._ways)

    @property
    def trouble(self) -> str:
        """Why something was not brought at the last attempt; empty when all was."""
        return "; ".join(dict.fromkeys(way.trouble for way in self._ways if way.trouble))

    def stop(self) -> None:
        """Stop asking, at once."""
        for way in self._ways:
            way.stop()
        for way in self._ways:
            if way.thread.is_alive():
                way.thread.join()


class _Way:
    """One node's way: its thread asks, waits, and asks again."""

    def __init__(self, node: str, bringer: Bringer, links: tuple[ServerLink, ServerLink]) -> None:
        self.node = node
        self._bringer = bringer
        self._links = links
        self._stopping = threading.Event()
        self.settled = threading.Event()
        self.trouble = ""
        self.thread = threading.Thread(target=self._work, name="ion-courier", daemon=True)

    def look(self) -> bool:
        self._bringer.look()
        return self._bringer.settled

    def close(self) -> None:
        for link in self._links:
            link.close()

    def stop(self) -> None:
        self._stopping.set()
        for link in self._links:
            link.abort()

    def _work(self) -> None:
        pause, wait = _FIRST_PAUSE_S, 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                news = self._bringer.look(wait)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may do better
                self.trouble = str(error)
                self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                pause, wait = min(2 * pause, _LONGEST_PAUSE_S), 0.0
                continue
            if self._bringer.settled:
                self.trouble, pause, wait = "", _FIRST_PAUSE_S, WAIT_S
                self.settled.set()
            else:  # refused: tried again after a while, or at once when something else stands
                self.trouble = "something was refused"
                pause = _FIRST_PAUSE_S if news else min(2 * pause, _LONGEST_PAUSE_S)
                wait = max(pause, 1.0)
            self._stopping.wait(_SHORTEST_S - (time.monotonic() - began))  # a server that does not wait is not flooded
        self.close()
