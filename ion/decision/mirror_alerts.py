"""Telling how a mirror differs: once per difference, again when it changed, and when it is in line again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.mirror import Difference
from ion.facts import AlertRaised

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ion.store import Command, GovernanceStore

IN_LINE = "mirror-in-line"
UNREACHABLE = "mirror-unreachable"
SERVER = Difference("mlflow server", UNREACHABLE, "mlflow", "MLflow does not answer: it is not watched")
"""The registry itself, as something that may differ."""


def tell(
    store: GovernanceStore, differences: Iterable[Difference], fine: Collection[str], doubtful: Collection[str] | None
) -> tuple[set[str], int]:
    """Raise an alert for what is new; return what is open now, and how many alerts that made.

    Args:
        store: where alerts are facts.
        differences: found by a look.
        fine: the ``about`` of everything that the look found in order.
        doubtful: what was open before the look; None when that is not known.
    """
    told = 0
    still: set[str] = set()
    for difference in differences:
        told += _tell_one(store, difference)
        still.add(difference.about)
    for about in fine if doubtful is None else doubtful:
        if about in fine:
            told += _close(store, about)
        elif about not in still:
            still.add(about)  # not looked at this time
    return still, told


def _tell_one(store: GovernanceStore, difference: Difference) -> bool:
    fact = AlertRaised(
        scope=difference.scope, alert=difference.alert, message=difference.message[:500], about=difference.about
    )
    if _known(_last(store, difference.about), fact):
        return False
    with store.command() as command:
        if _known(_last(command, difference.about), fact):  # another tick was first
            return False
        command.record(fact)
    return True


def _known(last: AlertRaised | None, fact: AlertRaised) -> bool:
    same = last is not None and last.alert == fact.alert
    # How exactly a server fails to answer changes within one outage.
    return same and last is not None and (last.message == fact.message or fact.alert == UNREACHABLE)


def _close(store: GovernanceStore, about: str) -> bool:
    if not _is_open(_last(store, about)):
        return False
    with store.command() as command:
        last = _last(command, about)
        if last is None or not _is_open(last):
            return False
        message = f"{about} is in line again; it was: {last.message}"
        command.record(AlertRaised(scope=last.scope, alert=IN_LINE, message=message[:500], about=about))
    return True


def _is_open(last: AlertRaised | None) -> bool:
    return last is not None and last.alert != IN_LINE


def _last(store: GovernanceStore | Command, about: str) -> AlertRaised | None:
    found = store.find(AlertRaised, about, limit=1, newest_first=True)
    return found[0].fact if found else None
