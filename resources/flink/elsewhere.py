"""A job that reaches governance by URL alone: what it serves with comes from the server, facts go there."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

from ion.agent import ship_all
from ion.agent.fetching import ServerLink, token_of_environment
from ion.agent.remote import RemoteReceiver
from ion.errors import IonError
from ion.evidence.files import MIB
from ion.serving.courier import Courier
from resources.flink.bins import has_bins, write_bins

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.agent import Client
    from resources.flink.bins import Edges
    from resources.flink.settings import JobSettings

_FIRST_S = 10.0
_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
_LARGEST_BINS = 4 * MIB


class Elsewhere:
    """The way from this job to the server and back.

    What serves follows the files here, so that the job goes on, and starts, while the server is away.

    Args:
        settings: of the job.
        client: tells what was refused, and knows where the server is.
        run: the job's node run.
        serving: returns the model that serves; empty before there is one.

    Raises:
        IonError: ``insecure-url``, ``bad-store-url``, ``no-token``.
    """

    def __init__(self, settings: JobSettings, client: Client, run: str, serving: Callable[[], str]) -> None:
        home = client.home
        self._settings = settings
        self._spool = home.spool
        self._serving = serving
        self._courier = Courier(home, [settings.node], home.server_url, client.emit, run=run)
        self._receiver = RemoteReceiver.of(home.server_url)
        self._link = ServerLink(home.server_url, token_of_environment)
        self._asked: tuple[str, float] = "", 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ion-elsewhere", daemon=True)

    def start(self) -> None:
        """Begin, and wait a little for what stands now: a model revoked meanwhile should not serve first."""
        self._courier.start()
        self._courier.wait(_FIRST_S)
        self._thread.start()

    def stop(self) -> None:
        """End it; what is left to ship stays in the spool."""
        self._courier.stop()
        self._stopping.set()
        self._link.abort()
        self._thread.join()
        self._link.close()
        self._receiver.close()

    def _work(self) -> None:
        """Ship what earlier jobs could not (this job's own client ships its own), and bring training bins."""
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                ship_all(self._spool, self._receiver)
                self._bring_bins()
                pause = _PAUSE_S
            except (IonError, OSError):
                pause = min(max(2 * pause, _PAUSE_S), _LONGEST_PAUSE_S)

    def _bring_bins(self) -> None:
        model, folder = self._serving(), self._settings.folders.bins
        if not model or has_bins(folder, model):
            return
        asked, due = self._asked
        if asked == model and time.monotonic() < due:
            return
        self._asked = model, time.monotonic() + _LONGEST_PAUSE_S  # its training may have told none
        answer = self._link.get(f"/v1/nodes/{self._settings.node}/bins", limit=_LARGEST_BINS)
        edges = read_bins(answer.body or b"", model)
        if edges:
            write_bins(folder, model, edges)


def read_bins(data: bytes, model: str) -> Edges:
    """Return the bins that a server gives for ``model``; empty when they are none, or another model's.

    They are not signed: what is counted with them says them again.
    """
    try:
        said = json.loads(data)
        named = said["edges"] if said["model"] == model else {}
        edges = {str(name): [float(edge) for edge in row] for name, row in named.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    rising = all(
        len(row) > 1 and all(map(isfinite, row)) and all(low < high for low, high in pairwise(row))
        for row in edges.values()
    )
    return edges if rising else {}
