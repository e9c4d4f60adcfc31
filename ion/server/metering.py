"""What the server counts, for Prometheus."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from ion.server.bounds import Load


class Meters:
    """The counters of one server process; each application has its own."""

    def __init__(self, load: Load) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "ion_server_requests",
            "Requests, by route and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "ion_server_seconds", "Seconds until an answer, by route.", ["method", "route"], registry=self._registry
        )
        self.facts = Counter(
            "ion_server_facts", "Facts shipped, by what became of them.", ["fate"], registry=self._registry
        )
        self.bytes = Counter(
            "ion_server_body_bytes", "Bytes of facts, as sent and decompressed.", ["form"], registry=self._registry
        )
        self.head = Gauge(
            "ion_store_head", "Position of the store's newest fact when last asked.", registry=self._registry
        )
        flight = Gauge("ion_server_in_flight", "Requests being answered.", ["kind"], registry=self._registry)
        for kind in load.kinds:
            flight.labels(kind).set_function(partial(load.now, kind))

    def text(self) -> bytes:
        """Return the exposition, text format 0.0.4."""
        return generate_latest(self._registry)
