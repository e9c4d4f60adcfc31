"""Whether each node's pointer file says what the store says it should serve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ion.decision.in_force import CHANGES, Change, action_of, in_force
from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import verify_promotion
from ion.facts import ModelRevoked
from ion.graph.signed import stop_problem, trusted
from ion.ledger import Problem
from ion.serving.pointer import pointer_path, read_pointer

if TYPE_CHECKING:
    from ion.evidence.trust_root import TrustRoot
    from ion.home import Home
    from ion.records import Record

_TRIES = 3
_WAIT_S = 0.3


def pointer_problems(home: Home, records: list[tuple[int, Record]]) -> list[Problem]:
    """Compare what is in force at every node with its pointer file.

    The file follows the store within a moment, so a difference is looked at again before it is told.
    """
    changes: dict[str, list[tuple[int, Change]]] = {}
    for position, record in records:
        if isinstance(record.fact, CHANGES):
            changes.setdefault(record.fact.node, []).append((position, record.fact))
    trust = trusted(home)
    if isinstance(trust, str):
        return []  # the missing trust is told already
    problems: list[Problem] = []
    for node, found in sorted(changes.items()):
        found.sort(key=lambda item: item[1].serial)
        change = in_force([fact for _, fact in found])
        if change is None:
            continue  # only revocations: nothing was ever to be served
        revoked = {fact.model for _, fact in found if isinstance(fact, ModelRevoked) and not stop_problem(fact, trust)}
        problem = ""
        for attempt in range(_TRIES):
            problem = _problem(home, trust, change, revoked)
            if not problem:
                break
            if attempt + 1 < _TRIES:
                time.sleep(_WAIT_S)
        if problem:
            position = next(position for position, fact in found if fact is change)
            problems.append(Problem(position, "pointer", f"{node}: {problem}"))
    return problems


def _problem(home: Home, trust: TrustRoot, change: Change, revoked: set[str]) -> str:
    try:
        statement = verify_promotion(read_pointer(pointer_path(home.root, change.node)), trust)
    except FileNotFoundError:
        return "there is no pointer file, though the store says what to serve"
    except (OSError, IonError) as error:
        return f"the pointer file cannot be read: {error.strerror if isinstance(error, OSError) else error.message}"
    if isinstance(statement, Unverified):
        return f"the pointer file does not verify: {statement.reason}"
    said = (statement.address, statement.serial, statement.cause, statement.action, statement.model)
    if said != (change.node, change.serial, change.cause, action_of(change), getattr(change, "model", None)):
        return f"the pointer file says serial {statement.serial}, model {statement.model}; the store {change.serial}"
    missing = sorted(revoked.difference(statement.revoked))
    return f"the pointer file does not say that {missing[0]} was revoked" if missing else ""
