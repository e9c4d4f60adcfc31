"""An explanation as a tree for people: one branch per question, the verdicts with their marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from ion.cli.answering import short, shown, when

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ion.graph import Explanation

_MARKS = {"approve": ("✓", "green"), "reject": ("✗", "red"), "defer": ("…", "yellow")}


def explanation_tree(answer: Explanation) -> Tree:
    """Return the tree; everything in it is text, so nothing a fact holds can style or steer."""
    tree = Tree(Text.assemble(("prediction ", "bold"), shown(answer.prediction)))
    _served(tree, answer)
    _models(tree, answer)
    _decisions(tree, answer)
    _training(tree, answer)
    _datasets(tree, answer)
    _elsewhere(tree, answer)
    if answer.errors:
        branch = _branch(tree, "trouble meanwhile")
        for error in answer.errors:
            branch.add(_line("!", "yellow", f"{when(error['at'])} {error['what']}: {error['message']}"))
    if answer.complete:
        tree.add(_line("✓", "green", "complete: nothing this answer needs is missing"))
        return tree
    branch = tree.add(_line("✗", "red", f"not complete: {len(answer.gaps)} missing"))
    for hole in answer.gaps:
        branch.add(_text(f"{hole.what} {hole.about}: {hole.reason}"))
    return tree


def _served(tree: Tree, answer: Explanation) -> None:
    epoch = answer.epoch
    branch = _branch(tree, "served")
    branch.add(_text(f"by {epoch.get('node', 'an unknown node')}, run {epoch.get('run', 'unknown')}"))
    branch.add(_text(f"epoch {epoch['id']}, opened {when(epoch.get('opened')) or 'at an unknown time'}"))
    committed = epoch.get("committed")
    if isinstance(committed, dict):
        rows = f"{committed['first']} to {committed['last']}"
        branch.add(_text(f"committed in {committed['file']} ({rows}), {when(committed['to'])}"))
    captured = "input captured, under encryption" if epoch["captured"] else "input not captured"
    branch.add(_text("input captured, and erased" if "erased" in epoch else captured))


def _models(tree: Tree, answer: Explanation) -> None:
    for model in answer.models:
        branch = _branch(tree, f"model ({model['role']})")
        branch.add(_text(f"{model.get('name', 'unknown')} {short(model['model'])}, {model.get('format', 'unknown')}"))
        branch.add(_text(_pairs(model.get("metrics"))))
        verified = model["bytes"] == "verified"
        mark, style = ("✓", "green") if verified else ("✗", "red")
        branch.add(_line(mark, style, "bytes have this digest" if verified else str(model["bytes"])))


def _decisions(tree: Tree, answer: Explanation) -> None:
    for decision in answer.decisions:
        title = "decision" + (" that admitted it" if decision["admitted"] else "")
        branch = _branch(tree, title)
        mark, style = _MARKS.get(str(decision["verdict"]), ("?", "yellow"))
        by = f"{decision['verdict']} by {decision['policy_set']} ({short(decision['policy_digest'])})"
        branch.add(_line(mark, style, f"{by}, {when(decision['at'])}, until {when(decision['expires'])}"))
        for reason in _rows(decision["reasons"]):
            mark, style = _MARKS.get(str(reason.get("verdict")), ("?", "yellow"))
            branch.add(_line(mark, style, f"{reason.get('policy')}: {reason.get('message')}"))
        verified = decision["signature"] == "verified"
        mark, style = ("✓", "green") if verified else ("✗", "red")
        branch.add(_line(mark, style, f"signature {decision['signature']}"))
        for back in _rows(decision.get("rollbacks", [])):
            branch.add(_text(f"gone back to, {when(back['at'])}, by {back['by']}: {back['reason']}"))
        revoked = decision.get("revoked")
        if isinstance(revoked, dict):
            said = f"model revoked, {when(revoked['at'])}, by {revoked['by']}: {revoked['reason']}"
            branch.add(_line("✗", "red", said))
    for approval in answer.approvals:
        branch = _branch(tree, "approval")
        people = "" if _rows(approval["people"]) else "; no person signed"
        branch.add(_text(f"{approval['label']}{people}"))
        for person in _rows(approval["people"]):
            verified = person["signature"] == "verified"
            mark, style = ("✓", "green") if verified else ("✗", "red")
            said = f"{person['name'] or person['person']}, {when(person['at'])}: {person['reason']}"
            branch.add(_line(mark, style, said if verified else f"{said} (signature {person['signature']})"))


def _training(tree: Tree, answer: Explanation) -> None:
    for run in answer.training:
        branch = _branch(tree, "training" if run["part"] == "training" else "data")
        engine = f", {run['engine']} run {run['engine_run']}" if run.get("engine") else ""
        branch.add(_text(f"{run.get('node', 'unknown node')}, run {run['run']}{engine}"))
        ended = f"to {when(run['ended'])}, {run['status']}" if "ended" in run else "not ended"
        branch.add(_text(f"{when(run.get('started')) or 'start unknown'}, {ended}"))
        code = answer.code.get(str(run["run"]))
        if isinstance(code, dict):
            branch.add(_text(_source(code)))
        trials = _items(run["trials"])
        if trials:
            branch.add(_text(f"{len(trials)} settings tried"))
        if run["params"]:
            branch.add(_text(_pairs(run["params"])))


def _datasets(tree: Tree, answer: Explanation) -> None:
    branch = _branch(tree, "datasets")
    for dataset in answer.datasets:
        about = f"{dataset['name']} {short(dataset['digest'])}, {dataset.get('rows', '?')} rows"
        use = "read while serving" if "read_by" in dataset else str(dataset.get("classification") or "unclassified")
        leaf = branch.add(_text(f"{about}, {use}"))
        for check in _rows(dataset.get("checks", [])):
            mark, style = ("✓", "green") if check["passed"] else ("✗", "red")
            leaf.add(_line(mark, style, f"check {check['name']}, {when(check['at'])}"))


def _elsewhere(tree: Tree, answer: Explanation) -> None:
    for message in answer.messages:
        received = when(message["received"]) or "never received"
        ends = f"{message.get('sender', 'unknown')} to {message.get('receiver', 'unknown')}"
        text = f"{message.get('kind', 'unknown')}: {ends}, sent {when(message.get('sent'))}, received {received}"
        _branch(tree, "message").add(_text(text))
    for run in _rows(answer.dagster.get("runs", [])):
        _branch(tree, "in Dagster").add(_text(f"run {run['dagster_run']} of {run['node']}"))
    for name, value in answer.mlflow.items():
        if name != "mirrored":
            _branch(tree, "in MLflow").add(_text(f"{name.removeprefix('mlflow_')} {value}"))


def _source(code: Mapping[str, object]) -> str:
    digest = short(code.get("source_digest", ""))
    if code.get("commit"):
        state = "with uncommitted changes" if code.get("dirty") else "committed"
        return f"code {str(code['commit'])[:12]}, {state}, source {digest}"
    return f"code source {digest or 'unknown'}, no git"


def _branch(tree: Tree, title: str) -> Tree:
    """Return the branch of a title, the same one when it is asked for again."""
    for child in tree.children:
        if isinstance(child.label, Text) and child.label.plain == title:
            return child
    return tree.add(Text(title, style="bold"))


def _text(text: object) -> Text:
    return Text(shown(text))


def _line(mark: str, style: str, text: object) -> Text:
    return Text.assemble((mark, style), " ", shown(text))


def _pairs(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    return ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in sorted(value.items()))


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _rows(value: object) -> Iterable[Mapping[str, object]]:
    return [row for row in _items(value) if isinstance(row, dict)]
