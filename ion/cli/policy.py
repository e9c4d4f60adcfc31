"""``ion policy``: policy sets, tried before they decide and published when they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import Opened, console, did_not_hold, json_option, opened, print_json, short, shown, when
from ion.cli.signing import time_of
from ion.clock import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.decision import PolicySet
    from ion.decision.publication import Published
    from ion.decision.trial import Bench, Tried
    from ion.store import GovernanceStore

CATALOGUE = "policies.catalog"


@click.group(name="policy")
def command() -> None:
    """Look at policy sets, try a draft on the past, publish one.

    REF is module:name; a name alone is looked for in policies/catalog.py.

    Example: ion policy list
    """


@command.command(name="list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the policy sets of the catalogue and of the defined IONs, and whether they are as published.

    Example: ion policy list
    """
    with opened() as asked:
        used = _used(asked.store)
        told = [_told(asked.store, reference, used.get(reference, ())) for reference in _references(used)]
    if as_json:
        print_json({"policy_sets": told})
        return
    out = console()
    for each in told:
        nodes = ", ".join(str(node) for node in used.get(str(each["reference"]), ()))
        line = f"{each['reference']}  {short(each['digest'])}  {each['state']}" + (
            f"  decides for {nodes}" if nodes else ""
        )
        out.print(shown(line), soft_wrap=True, style="red" if each["state"] in _WRONG else None)


@command.command(name="show")
@click.argument("reference", metavar="REF")
@json_option
def show(reference: str, *, as_json: bool) -> None:
    """Show the policies of a set with their parameters, its digest and sources.

    Example: ion policy show standard
    """
    from ion import __version__

    policies = _load(reference)
    with opened() as asked:
        told = _told(asked.store, policies.reference, _used(asked.store).get(policies.reference, ()))
    told["content"] = policies.content(__version__)
    if as_json:
        print_json(told)
        return
    out = console()
    out.print(shown(f"{policies.reference}  {told['digest']}"), soft_wrap=True)
    out.print(shown(f"  {told['state']}; a decision holds for {policies.valid_days} days"))
    if policies.automatic_review_share:
        out.print(f"  {policies.automatic_review_share:.0%} of its automatic approvals are drawn for review")
    for policy in policies.policies:
        parameters = ", ".join(f"{name}={value!r}" for name, value in policy.parameters.items())
        out.print(shown(f"  {policy.name}({parameters})"), soft_wrap=True)


@command.command(name="test")
@click.argument("reference", metavar="REF")
@click.option("--since", default="", help="Only decisions from this date or time on.")
@click.option("--ion", "ion", default="", help="Only decisions in this ION.")
@json_option
def test(reference: str, since: str, ion: str, *, as_json: bool) -> None:
    """Judge past candidates by the set as it is in the code now, and say what would have differed.

    Evidence is what it was: the model that served then, the checks and approvals of then. Metrics are
    measured again, on the kept bytes and rows. Nothing is changed. Exits with 1 when a verdict differs.

    Example: ion policy test standard --since 2027-01-01
    """
    policies = _load(reference)
    with opened() as asked:
        tried = list(_bench(asked).trials(policies, since=time_of(since) if since else 0, ion=ion))
    differing = [each for each in tried if each.differs]
    if as_json:
        told = [_trial(each) for each in tried]
        print_json({"policy_set": policies.reference, "tried": len(tried), "differing": len(differing), "trials": told})
    else:
        _print_trials(tried, differing)
    if differing:
        did_not_hold()


@command.command(name="publish")
@click.argument("reference", metavar="REF")
@json_option
def publish(reference: str, *, as_json: bool) -> None:
    """Publish the set as it is in the code now: from now on only this digest decides under its name.

    Models that serve under it are judged again; for each that would not be approved an alert is
    raised, and it goes on serving. Exits with 1 when there is one. Where policies are changed later,
    candidates are rejected until the set is published again.

    Example: ion policy publish standard
    """
    import getpass

    from ion import __version__
    from ion.decision.publication import publish as published_now
    from ion.evidence import load_signer

    policies = _load(reference)
    with opened() as asked:
        signer = load_signer(asked.home.decision_key_uri)
        done = published_now(_bench(asked), policies, signer, version=__version__, by=getpass.getuser())
    if as_json:
        serving = [each.as_dict() for each in done.serving]
        print_json({"policy_set": done.reference, "digest": done.digest, "new": done.new, "serving": serving})
    else:
        _print_published(done)
    if done.differing:
        did_not_hold()


_WRONG = frozenset({"changed since it was published", "not in the code"})


def _load(reference: str) -> PolicySet:
    from ion.decision import load_policy_set

    return load_policy_set(reference if ":" in reference else f"{CATALOGUE}:{reference}")


def _bench(asked: Opened) -> Bench:
    from ion.decision.trial import Bench, trust_then
    from ion.evidence import ArtifactStore
    from ion.graph import assignments
    from ion.serving.measure import measure

    artifacts, trust = ArtifactStore(asked.home.artifacts), trust_then(asked.home)
    return Bench(asked.store, artifacts, measure=measure, assignments=assignments, trust=trust)


def _used(store: GovernanceStore) -> dict[str, tuple[str, ...]]:
    """Return reference → the nodes whose candidates are decided by it, as the IONs are defined now."""
    from ion.facts import IonDefined
    from ion.graph import Definition

    used: dict[str, tuple[str, ...]] = {}
    for fact in {record.fact.ion: record.fact for record in store.find(IonDefined)}.values():
        for node in Definition.from_json(fact.definition).nodes:
            if node.kind == "policy":
                reference = str(node.details["policy_set"])
                used[reference] = (*used.get(reference, ()), f"{fact.ion}/{node.name}")
    return used


def _references(used: Mapping[str, Sequence[str]]) -> list[str]:
    from importlib import import_module

    from ion.decision import PolicySet

    try:
        catalogue = vars(import_module(CATALOGUE))
    except ImportError:  # a deployment may keep its sets elsewhere
        catalogue = {}
    here = [value.reference for value in catalogue.values() if isinstance(value, PolicySet)]
    return sorted({*here, *used})


def _told(store: GovernanceStore, reference: str, nodes: Sequence[str]) -> dict[str, object]:
    from ion import __version__
    from ion.decision.publication import published_digest
    from ion.errors import IonError

    published = published_digest(store, reference)
    told: dict[str, object] = {"reference": reference, "published": published or None, "nodes": list(nodes)}
    try:
        digest = _load(reference).digest(__version__)
    except IonError as error:
        return {**told, "digest": None, "state": "not in the code", "problem": error.message}
    changed = "as published" if published == digest else "changed since it was published"
    return {**told, "digest": digest, "state": changed if published else "not published"}


def _trial(tried: Tried) -> dict[str, object]:
    names = ("policy", "verdict", "message")
    return {
        "decision": tried.decision,
        "node": tried.node,
        "model": tried.model,
        "run": tried.run,
        "decided": rfc3339(tried.decided),
        "differs": tried.differs,
        "then": {
            "policy_set": tried.policy_set,
            "policy_digest": tried.policy_digest,
            "verdict": tried.verdict_then,
            "reasons": [dict(zip(names, told, strict=True)) for told in tried.then],
        },
        "draft": {
            "verdict": tried.verdict_draft,
            "reasons": [dict(zip(names, told, strict=True)) for told in tried.draft],
        },
        "unlike_then": list(tried.unlike_then),
    }


def _print_trials(tried: Sequence[Tried], differing: Sequence[Tried]) -> None:
    out = console()
    for each in differing:
        head = f"{short(each.model)}  {each.node}  {when(rfc3339(each.decided))}"
        out.print(shown(f"{head}  {each.verdict_then} → {each.verdict_draft}"), style="yellow", soft_wrap=True)
        for label, reasons in (("then ", each.then), ("draft", each.draft)):
            for policy, verdict, message in reasons:
                out.print(shown(f"  {label}  {verdict}  {policy}: {message}"), soft_wrap=True)
        if each.unlike_then:
            out.print(shown(f"  not as it was then: {', '.join(each.unlike_then)}"), soft_wrap=True)
    style = "yellow" if differing else "green"
    out.print(f"{len(tried)} candidates judged, {len(differing)} would have been decided otherwise", style=style)


def _print_published(done: Published) -> None:
    out = console()
    told = "published" if done.new else "is published already"
    out.print(shown(f"✓ {done.reference} {told} as {short(done.digest)}"), style="green", soft_wrap=True)
    for each in done.serving:
        mark, style = ("✓", "green") if each.verdict == "approve" else ("✗", "red")
        out.print(shown(f"{mark} {each.node} serves {short(each.model)}: {each.verdict}"), style=style, soft_wrap=True)
        for reason in each.reasons:
            if reason.verdict != "approve":
                out.print(shown(f"  {reason.policy}: {reason.message}"), soft_wrap=True)
