"""Whether enough people approved: distinct people with distinct keys, in the right role, none of them the submitter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.evidence.parsing import MAX_INTEGER
from ion.evidence.trust_document import identity
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ion.evidence.approvals import Given
    from ion.evidence.trust import Role, Trust

MAX_AHEAD_US = 60_000_000
"""A statement issued further ahead than this does not count yet."""


@dataclass(frozen=True, slots=True)
class ApprovalRule:
    """How many people in which role must approve."""

    role: Role
    quorum: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stands for one model and node.

    Args:
        rule: what is asked.
        approved: the statements that count, one a person, oldest first.
        rejected: the statements of people in the role who say no.
        ignored: a sentence for each statement that does not count.
    """

    rule: ApprovalRule
    approved: tuple[Given, ...]
    rejected: tuple[Given, ...]
    ignored: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether enough people approved and nobody in the role rejected."""
        return self.rule.quorum > 0 and len(self.approved) >= self.rule.quorum and not self.rejected

    @property
    def until(self) -> int:
        """When the rule will no longer be met, if nobody says more: the quorum-th latest end, in microseconds UTC."""
        ends = sorted((given.statement.until for given in self.approved), reverse=True)
        return ends[self.rule.quorum - 1] if self.met else min(ends, default=MAX_INTEGER)


def standing(
    given: Iterable[Given],
    trust: Trust,
    rule: ApprovalRule,
    *,
    model: str,
    node: str,
    at: int,
    submitters: Collection[str],
) -> Standing:
    """Count statements about ``model`` for ``node`` (``ion/node``) at the time ``at`` (µs UTC).

    A person's newest statement replaces the earlier ones. ``submitters`` are the names, in whatever
    spelling, of who made the model: nobody approves an own model.
    """
    newest: dict[str, Given] = {}
    ignored: list[str] = []
    for each in sorted(given, key=lambda item: (item.statement.issued, item.statement.id)):
        said = each.statement
        if (said.model, said.address) != (model, node):
            ignored.append(f"{said.person} speaks of another model or node")
        elif said.issued > at + MAX_AHEAD_US:
            ignored.append(f"{said.person} signed in the future")
        else:
            newest[said.person] = each
    makers = frozenset(identity(name) for name in submitters if name)
    approved: list[Given] = []
    rejected: list[Given] = []
    for each in newest.values():
        problem = _problem(each, trust, rule, makers, at)
        if problem:
            ignored.append(f"{each.statement.person} {problem}")
        else:
            (rejected if each.statement.word == "reject" else approved).append(each)
    by_key = {each.key_id: each for each in approved}  # two people never stand behind one key
    return Standing(rule, tuple(by_key.values()), tuple(rejected), tuple(ignored))


def _problem(given: Given, trust: Trust, rule: ApprovalRule, makers: frozenset[str], at: int) -> str:
    """Return why a person's newest word does not count; empty when it does."""
    person = trust.person_of(given.key_id)
    if person is None or person.id != given.statement.person:
        return "is not known"
    if rule.role not in person.roles:
        return f"is no {rule.role}"
    if given.statement.word == "withdraw":
        return "has withdrawn"
    if given.statement.word == "reject":
        return ""  # an own model may be rejected, and a no does not run out
    if person.identities & makers:
        return "submitted the model"
    return "approved it until a time that is over" if at >= given.statement.until else ""
