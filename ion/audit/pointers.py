"""Whether each node's pointer file says what the store says it should serve."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.statements import PromotionStatement, verify_promotion
from ion.facts import NodeHalted, Promoted
from ion.graph.signed import trusted
from ion.ledger import Problem
from ion.serving.pointer import pointer_path, read_pointer

if TYPE_CHECKING:
    from ion.evidence.trust_root import TrustRoot
    from ion.home import Home
    from ion.records import Record

_TRIES = 3
_WAIT_S = 0.3


def pointer_problems(home: Home, records: list[tuple[int, Record]]) -> list[Problem]:
    """Compare the newest promotion or halt of every node with its pointer file.

    The file follows the store within a moment, so a difference is looked at again before it is told.
    """
    newest: dict[str, tuple[int, Promoted | NodeHalted]] = {}
    for position, record in records:
        fact = record.fact
        if isinstance(fact, Promoted | NodeHalted) and (
            fact.node not in newest or fact.serial > newest[fact.node][1].serial
        ):
            newest[fact.node] = (position, fact)
    trust = trusted(home)
    if isinstance(trust, str):
        return []  # the missing trust is told already
    problems: list[Problem] = []
    for node, (position, fact) in sorted(newest.items()):
        problem = ""
        for attempt in range(_TRIES):
            problem = _problem(home, trust, fact)
            if not problem:
                break
            if attempt + 1 < _TRIES:
                time.sleep(_WAIT_S)
        if problem:
            problems.append(Problem(position, "pointer", f"{node}: {problem}"))
    return problems


def _problem(home: Home, trust: TrustRoot, fact: Promoted | NodeHalted) -> str:
    try:
        statement = verify_promotion(read_pointer(pointer_path(home.root, fact.node)), trust)
    except FileNotFoundError:
        return "there is no pointer file, though the store says what to serve"
    except (OSError, IonError) as error:
        return f"the pointer file cannot be read: {error.strerror if isinstance(error, OSError) else error.message}"
    if isinstance(statement, Unverified):
        return f"the pointer file does not verify: {statement.reason}"
    wanted = ("promote", fact.model) if isinstance(fact, Promoted) else ("halt", None)
    if _said(statement) != (fact.node, fact.serial, fact.cause, *wanted):
        return f"the pointer file says serial {statement.serial}, model {statement.model}; the store {fact.serial}"
    return ""


def _said(statement: PromotionStatement) -> tuple[object, ...]:
    return (statement.address, statement.serial, statement.cause, statement.action, statement.model)
