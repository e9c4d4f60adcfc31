"""The notification sensor: people are told what was decided, refused, alerted, and what waits for them.

It does nothing until a channel is configured (docs/how-to/notify.md). Each channel has a thread of its own:
one that does not answer delays neither the tick nor another channel, and nothing here is in the way of a decision.
"""

from __future__ import annotations

import json
import threading
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from ion.decision.outbox import ChannelState, Outbox, Round
from ion.errors import IonError
from ion.home import Home, web_url
from ion.store import open_store
from resources.notifications import channels

if TYPE_CHECKING:
    from ion.decision.outbox import Channel

TICK_SECONDS = 4.0
"""How long a tick waits for its channels; one that needs longer goes on by itself."""


@dataclass(slots=True)
class Delivery:
    """A round of one channel, in a thread of its own; ``state`` is a copy that nobody else changes."""

    channel: str
    state: ChannelState
    done: Round = field(default_factory=Round)
    thread: threading.Thread | None = None


_under_way: dict[tuple[Home, str], Delivery] = {}


@dg.sensor(
    name="notification",
    minimum_interval_seconds=1,  # with 5, the daemon, which loops every 5 seconds, would now and then skip a loop
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people by webhook and e-mail what was decided, refused or alerted, and what waits for them.",
)
def notification(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Tell on every channel what is due."""
    home = Home.find().make()
    try:
        configured = channels(home)
    except IonError as error:
        return dg.SensorResult(cursor=context.cursor, skip_reason=f"nobody is told: {error}"[:500])
    if not configured:
        return dg.SensorResult(cursor="{}", skip_reason="no channel is configured")  # a later one begins at the head
    states = _states(home, configured, context.cursor)
    deliveries = [_delivery(home, channel, states[channel.name]) for channel in configured]
    deadline = time.monotonic() + TICK_SECONDS
    said: list[str] = []
    for delivery in deliveries:
        if delivery.thread is not None:
            delivery.thread.join(max(0.0, deadline - time.monotonic()))
        if delivery.thread is None or not delivery.thread.is_alive():
            _under_way.pop((home, delivery.channel), None)
            states[delivery.channel] = delivery.state
            said.append(_said(delivery))
        else:
            said.append(f"{delivery.channel}: under way")
    cursor = json.dumps({name: asdict(state) for name, state in states.items()})
    return dg.SensorResult(cursor=cursor, skip_reason="; ".join(said)[:500])


def _states(home: Home, configured: list[Channel], cursor: str | None) -> dict[str, ChannelState]:
    """Return what the cursor keeps; a channel that it does not know begins at the head, not with years of facts."""
    kept = json.loads(cursor) if cursor else {}
    states = {name: ChannelState.from_json(state) for name, state in kept.items()}
    unknown = [channel.name for channel in configured if channel.name not in states]
    if unknown:
        store = open_store(home.store_url)
        try:
            states |= {name: ChannelState(store.head().position) for name in unknown}
        finally:
            store.close()
    return {channel.name: states[channel.name] for channel in configured}


def _delivery(home: Home, channel: Channel, state: ChannelState) -> Delivery:
    """Return the round under way on a channel, or begin one."""
    known = _under_way.get((home, channel.name))
    if known is not None:
        return known
    delivery = Delivery(channel.name, deepcopy(state))
    delivery.thread = threading.Thread(target=_deliver, args=(home, channel, delivery), daemon=True)
    _under_way[home, channel.name] = delivery
    delivery.thread.start()
    return delivery


def _deliver(home: Home, channel: Channel, delivery: Delivery) -> None:
    try:
        store = open_store(home.store_url)
        try:
            delivery.done = Outbox(store, channel, web_url()).round(delivery.state)
        finally:
            store.close()
    except Exception as error:  # noqa: BLE001 - the next tick tries again, and this one says why
        # Of a foreign error only the name: its text may hold an address that is a secret.
        delivery.done = Round(problem=str(error)[:200] if isinstance(error, IonError) else type(error).__name__)


def _said(delivery: Delivery) -> str:
    done = delivery.done
    told = f"{delivery.channel}: {done.delivered} told, {done.waiting} waiting"
    if done.given_up:
        told += f", {done.given_up} given up"
    return f"{told} ({done.problem})" if done.problem else told
