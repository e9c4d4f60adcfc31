"""``ion evaluate``: decide a model again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from ion.cli.answering import Opened, console, did_not_hold, json_option, opened, print_json, short, shown
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.decision import Outcome
    from ion.store import Candidate, GovernanceStore


@click.command(name="evaluate")
@click.argument("model")
@click.option("--run", "node_run", default="", help="The node run that made it, when several made the same bytes.")
@json_option
def command(model: str, node_run: str, *, as_json: bool) -> None:
    """Decide MODEL again, without retraining; eight digits of its digest are enough.

    Evidence is gathered and measured anew, so what has changed since (a check that was run, a
    source that was committed) counts. An approval is promoted as usual. Exits with 1 when the
    verdict is not approve.

    Example: ion evaluate 00833be69d0c
    """
    with opened() as asked:
        candidate = _candidate(asked, model, node_run)
        if (asked.home.root / "dagster").is_dir():  # as `ion up` runs it
            os.environ.setdefault("DAGSTER_HOME", str(asked.home.root / "dagster"))
        from ion.dagster.governing import open_governor

        governor = open_governor(asked.home)
        try:
            outcomes = governor.consider(candidate, again=True)
        finally:
            governor.store.close()
        if not outcomes:
            raise _not_eligible(asked.store, candidate)
    if as_json:
        print_json({"model": candidate.model, "run": candidate.run, "outcomes": [_told(each) for each in outcomes]})
    else:
        _print(outcomes)
    if any(outcome.verdict != "approve" for outcome in outcomes):
        did_not_hold()


def _not_eligible(store: GovernanceStore, candidate: Candidate) -> IonError:
    """Return the error that says which condition of a decision is missing."""
    from ion.decision.evidence import candidate_facts
    from ion.graph import assignments

    ion = candidate.node.partition("/")[0]
    if candidate_facts(store, candidate) is None:
        reason, hint = "its node run has not succeeded", f"`ion timeline {ion}` shows how it ended"
    elif not assignments(store, candidate.node):
        reason = f"no recorded definition leads from {candidate.node} over a policy to an inference node"
        hint = f"`ion define {ion} --record` records what the code declares"
    else:
        reason, hint = "Dagster holds no materialization of it", "check that DAGSTER_HOME is the deployment's"
    return IonError("not-eligible", f"model {short(candidate.model)} cannot be decided: {reason}", hint)


def _candidate(asked: Opened, model: str, node_run: str) -> Candidate:
    from ion.graph import find_model

    digest = find_model(asked.store, model)
    made = [each for each in asked.store.candidates() if each.model == digest]
    chosen = [each for each in made if each.run.startswith(node_run)]
    if not chosen:
        hint = "its runs: " + ", ".join(each.run for each in made)
        raise IonError("unknown-run", f"no run {node_run!r} made model {short(digest)}", hint)
    return chosen[-1]


def _told(outcome: Outcome) -> dict[str, object]:
    return {
        "decision": outcome.decision,
        "node": outcome.node,
        "policy_node": outcome.policy_node,
        "verdict": outcome.verdict,
        "promoted": outcome.promoted,
        "reasons": [reason.as_dict() for reason in outcome.reasons],
        "evidence": dict(outcome.evidence),
    }


def _print(outcomes: Sequence[Outcome]) -> None:
    out = console()
    for outcome in outcomes:
        followed = ", promoted" if outcome.promoted else ""
        style = "green" if outcome.verdict == "approve" else "red"
        out.print(f"{outcome.verdict} for {outcome.node}{followed}", style=style)
        for reason in outcome.reasons:
            mark = {"approve": "✓", "reject": "✗"}.get(reason.verdict, "…")
            out.print(f"  {mark} {shown(reason.policy)}: {shown(reason.message)}", soft_wrap=True)
