"""What is wrong with a spool: kept aside for inspection, and told as gaps and alerts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ion.agent.files import sync_folder
from ion.agent.frames import LARGEST
from ion.agent.segments import segment_name
from ion.clock import Clock
from ion.facts import AlertRaised, GapNoted
from ion.ids import new_id, observed_id
from ion.records import write_record
from ion.values import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from ion.agent.receiver import Receiver
    from ion.agent.segments import Damage, Segment
    from ion.errors import IonError

_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """The spool of one agent.

    Args:
        agent: its name; every fact in it must be told under that name.
        files: the folder that its files are opened in.
        place: where the folder goes away from, once it is shipped or set aside.
        quarantine: where what is damaged goes.
        most: bytes shipped at a time, about; what is left waits for the next time.
        patience: seconds to wait for its writer to let go of the keys.
    """

    agent: str
    files: Path
    place: Path
    quarantine: Path
    most: float = float("inf")
    patience: float = _PATIENCE_SECONDS

    @classmethod
    def of(cls, folder: Path) -> SpoolFolder:
        """Return the spool in ``folder``, ``<home>/spool/<agent>``, of this process's own user."""
        return cls(folder.name, folder, folder, folder.parent.parent / "quarantine")


def tell_damage(
    folder: SpoolFolder, receiver: Receiver, segment: Segment, damage: Damage, seq: int, following: int | None
) -> None:
    """Keep damaged bytes aside and tell what is missing with them.

    ``seq`` is the number of the fact that should stand there, ``following`` that of the next fact that is whole,
    None when there is none.
    """
    count = damage.after - damage.first
    where = f"{count} bytes at {damage.first} of {segment_name(segment.number)}"
    told = f"{folder.agent} {segment.number} {damage.first}"
    if damage.torn:
        reason = f"the agent died while writing; {where}, never acknowledged, were cut"
        gap = GapNoted(scope=folder.agent, what="spool bytes", count=count, reason=reason, first=seq, last=seq)
        tell_of_spool(receiver, gap, folder.agent, f"torn {told}")
        return
    kept = _keep_aside(folder, segment, damage)
    reason = f"{where} are damaged; {'they are' if kept == count else f'{kept} of them are'} kept in quarantine"
    missing = (following or 0) - seq
    if missing > 0:
        gap = GapNoted(
            scope=folder.agent, what="facts", count=missing, reason=reason, first=seq, last=seq + missing - 1
        )
    else:
        last = None if following is None else seq
        gap = GapNoted(scope=folder.agent, what="spool bytes", count=count, reason=reason, first=seq, last=last)
    tell_of_spool(receiver, gap, folder.agent, f"damaged {told}")
    alert = AlertRaised(scope=folder.agent, alert="spool-corrupt", message=reason)
    tell_of_spool(receiver, alert, folder.agent, f"alert {told}")


def tell_hole(folder: SpoolFolder, receiver: Receiver, first: int, following: int) -> None:
    """Tell that facts are missing between two that are whole, and follow each other in the spool."""
    reason = "its spool goes on without them, though nothing in it is damaged: they were taken out"
    gap = GapNoted(
        scope=folder.agent, what="facts", count=following - first, reason=reason, first=first, last=following - 1
    )
    tell_of_spool(receiver, gap, folder.agent, f"hole {first}")


def tell_broken(folder: SpoolFolder, receiver: Receiver, number: int, at: int, seq: int) -> None:
    """Tell that a whole fact does not follow from the one before: something was taken out, put in or exchanged."""
    message = f"fact {seq} at byte {at} of {segment_name(number)} does not follow from what was before it"
    alert = AlertRaised(scope=folder.agent, alert="spool-corrupt", message=message)
    tell_of_spool(receiver, alert, folder.agent, f"broken {number} {at}")


def tell_truncated(folder: SpoolFolder, receiver: Receiver, seq: int, reason: str) -> None:
    """Tell that a spool ends before what was acknowledged of it; nobody knows what else was in it."""
    gap = GapNoted(scope=folder.agent, what="end of the spool", count=1, reason=reason, first=seq)
    tell_of_spool(receiver, gap, folder.agent, f"truncated {reason}")
    alert = AlertRaised(scope=folder.agent, alert="spool-truncated", message=reason)
    tell_of_spool(receiver, alert, folder.agent, f"alert truncated {reason}")


def set_aside(folder: SpoolFolder, receiver: Receiver, error: IonError, segment: Segment, at: int, seq: int) -> None:
    """Move a whole spool to the quarantine: it speaks in another's name."""
    lost = segment.size - at
    gap = GapNoted(scope=folder.agent, what="spool bytes", count=lost, reason=error.message, first=seq)
    tell_of_spool(receiver, gap, folder.agent, f"aside {segment.number} {at}")
    alert = AlertRaised(scope=folder.agent, alert=error.code, message=error.message)
    tell_of_spool(receiver, alert, folder.agent, f"alert aside {segment.number} {at}")
    folder.quarantine.mkdir(mode=0o700, exist_ok=True)
    target = folder.quarantine / folder.agent
    folder.place.rename(target.with_name(f"{folder.agent}-{new_id()}") if target.exists() else target)


def tell_of_spool(receiver: Receiver, fact: GapNoted | AlertRaised, agent: str, what: str) -> None:
    """Record a fact about a spool once, however often it is told, as an agent of its own."""
    identity = observed_id("shipping", agent, what)
    record = write_record(fact, fact_id=identity, agent=f"shipping-{new_id()}", seq=0, stamp=Clock().tick())
    receiver.append([record])


def _keep_aside(folder: SpoolFolder, segment: Segment, damage: Damage) -> int:
    """Copy damaged bytes into the quarantine, at most what one frame can hold; returns how many."""
    kept = min(damage.after - damage.first, LARGEST)
    aside = folder.quarantine / folder.agent
    for made in (folder.quarantine, aside):
        made.mkdir(mode=0o700, exist_ok=True)
    segment.file.seek(damage.first)
    data = segment.file.read(kept)
    path = aside / f"{segment_name(segment.number)}.{damage.first}"
    if path.exists() and path.read_bytes() == data:
        return kept  # told before, and interrupted before it was noted
    handle = os.open(
        path if not path.exists() else path.with_name(f"{path.name}-{new_id()}"),
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW,
        0o600,
    )
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(aside)
    return kept
