"""``ion pending``: what waits for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, items, json_option, opened, print_json, short, shown, when

if TYPE_CHECKING:
    from ion.graph.pending import Waiting


@click.command(name="pending")
@click.option("--node", default="", help="Only what would serve at this ion/node.")
@click.option("--person", default="", help="Only what this person may still sign.")
@json_option
def command(node: str, person: str, *, as_json: bool) -> None:
    """List the models that wait for people: what is asked, who has approved, what to sign.

    Also listed: automatic approvals that were drawn for a later look by a person.

    Example: ion pending --person anna
    """
    from ion.evidence import load_trust
    from ion.graph.pending import pending

    with opened() as asked:
        trust = load_trust(asked.home) if asked.home.trust_document.exists() else None
        found = [each for each in pending(asked.store, trust) if node in {"", each.node} and _may(each, person)]
    if as_json:
        print_json({"pending": [each.as_dict() for each in found]})
        return
    if not found:
        console().print("Nothing waits for people.")
    for each in found:
        _print(each)


def _may(waiting: Waiting, person: str) -> bool:
    return not person or any(person in items(rule["may"]) for rule in waiting.asked)


def _print(waiting: Waiting) -> None:
    out = console()
    what = "waits for approval" if waiting.kind == "approval" else "was approved automatically, drawn for review"
    head = f"{short(waiting.model)}  {waiting.name}  {what} at {waiting.node}"
    out.print(shown(head), style="yellow", soft_wrap=True)
    told = waiting.as_dict()
    ends = f", rejected if not approved before {when(told['until'])}" if told["until"] else ""
    out.print(shown(f"              since {when(told['since'])}{ends}"), soft_wrap=True)
    for reason in waiting.reasons:
        mark = {"approve": "✓", "reject": "✗"}.get(str(reason.get("verdict")), "…")
        out.print(shown(f"              {mark} {reason.get('policy')}: {reason.get('message')}"), soft_wrap=True)
    for rule in waiting.asked:
        approved = ", ".join(map(str, items(rule["approved"]))) or "nobody yet"
        may = ", ".join(map(str, items(rule["may"]))) or "nobody: `ion trust add` names people"
        line = f"              {rule['quorum']} in the role {rule['role']}: {approved}; may still sign: {may}"
        out.print(shown(line), soft_wrap=True)
    out.print(shown(f"              {waiting.command}"), soft_wrap=True)
