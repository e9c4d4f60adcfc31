"""A job that reaches governance by URL alone: what it serves with comes from the server, facts go there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ion.agent import ship_all
from ion.agent.remote import RemoteReceiver
from ion.errors import IonError
from ion.serving.courier import Courier

if TYPE_CHECKING:
    from ion.agent import Client
    from ion.home import Home

_FIRST_S = 10.0
_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0


class Elsewhere:
    """The way from this job to the server and back.

    What serves follows the files here, so that the job goes on, and starts, while the server is away.
    """

    def __init__(self, home: Home, courier: Courier, receiver: RemoteReceiver) -> None:
        self._home = home
        self._courier = courier
        self._receiver = receiver
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ship_left, name="ion-left", daemon=True)

    @classmethod
    def of(cls, home: Home, node: str, client: Client, run: str) -> Elsewhere:
        """Return the way of the job that serves ``ion/node`` in the node run ``run``.

        Raises:
            IonError: ``insecure-url``, ``bad-store-url``, ``no-token``.
        """
        courier = Courier(home, [node], home.server_url, client.emit, run=run)
        return cls(home, courier, RemoteReceiver.of(home.server_url))

    def start(self) -> None:
        """Begin, and wait a little for what stands now: a model revoked meanwhile should not serve first."""
        self._courier.start()
        self._thread.start()
        self._courier.wait(_FIRST_S)

    def stop(self) -> None:
        """End the way down, and the shipping of what others left."""
        self._courier.stop()
        self._stopping.set()
        self._thread.join()
        self._receiver.close()

    def _ship_left(self) -> None:
        """Ship what earlier jobs could not, until nothing is left; this job's own client ships its own."""
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = _PAUSE_S if pause < _PAUSE_S else min(2 * pause, _LONGEST_PAUSE_S)
            try:
                ship_all(self._home.spool, self._receiver)
            except (IonError, OSError):
                continue
            pause = _LONGEST_PAUSE_S
