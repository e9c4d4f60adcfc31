"""``ion define``: IONs as code or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, json_option, opened, print_json, short, shown
from ion.cli.project import module_option, project_definitions
from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from ion.graph import Definition


@click.command(name="define")
@click.argument("ion", required=False)
@click.option("--file", "path", type=click.Path(path_type=Path), help="Read the definition from this JSON file.")
@click.option("--record", is_flag=True, help="Record it in the store; --file always does.")
@module_option
@json_option
def command(ion: str | None, path: Path | None, module: str, *, record: bool, as_json: bool) -> None:
    r"""Print the definition of ION, as derived from the assets in code; without ION, list them.

    With --file, validate and record a definition whose nodes may be programs outside Dagster.
    The form is described in docs/reference/ion-definition.schema.json.

    \b
    Example: ion define patient_tests --json
             ion define --file triage.json
    """
    if path is not None:
        definition = _from_file(path, ion)
        _show(definition, as_json=as_json, recorded=_record([definition]))
    elif ion is not None:
        definition = _one(ion, module)
        _show(definition, as_json=as_json, recorded=_record([definition]) if record else None)
    else:
        found = project_definitions(module)
        _list(found, as_json=as_json, recorded=_record(found) if record else None)


def _from_file(path: Path, ion: str | None) -> Definition:
    from ion.graph import Definition

    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise IonError("no-file", f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        hint = "a definition is one JSON object; docs/reference/ion-definition.schema.json describes it"
        raise IonError("bad-definition", f"{path} is not JSON: {error}"[:300], hint) from error
    definition = Definition.from_json(document)
    if ion is not None and definition.ion != ion:
        raise IonError("bad-definition", f"{path} defines {definition.ion}, not {ion}")
    return definition


def _one(ion: str, module: str) -> Definition:
    """Return the definition in code, or for an ION that is not code (external programs) the recorded one."""
    from ion.graph import defined

    try:
        found = project_definitions(module)
    except IonError as error:
        if error.code not in {"no-project", "extra-missing"}:
            raise
        trouble, found = error, []
    else:
        names = ", ".join(each.ion for each in found) or "none"
        hint = f"the code declares: {names}; `ion define --file X.json` records others"
        trouble = IonError("unknown-ion", f"no ION named {ion!r} is declared in {module}, nor recorded", hint)
    for definition in found:
        if definition.ion == ion:
            return definition
    try:
        with opened() as asked:
            return defined(asked.store, ion)
    except IonError as error:
        if error.code in {"unknown-ion", "no-home"}:
            raise trouble from error
        raise


def _record(definitions: list[Definition]) -> list[str]:
    """Record definitions; returns the names of those that were new."""
    from ion.graph import define
    from ion.store import open_store

    store = open_store(Home.find().make().store_url)
    try:
        return [definition.ion for definition in definitions if define(store, definition)]
    finally:
        store.close()


def _show(definition: Definition, *, as_json: bool, recorded: list[str] | None) -> None:
    if as_json:
        print_json(dict(definition.document))
        return
    out = console()
    out.print(f"{definition.ion}, version {short(definition.version)}{_state(definition.ion, recorded)}", style="bold")
    for node in definition.nodes:
        details = ", ".join(f"{name} {_flat(value)}" for name, value in node.details.items())
        out.print(shown(f"  {node.kind:10} {node.name}  {details}"), soft_wrap=True)
    for edge in definition.edges:
        out.print(shown(f"  {edge.message:10} {edge.sender} → {edge.receiver}"))


def _list(found: list[Definition], *, as_json: bool, recorded: list[str] | None) -> None:
    if as_json:
        rows = [{"ion": each.ion, "version": each.version, "nodes": [n.name for n in each.nodes]} for each in found]
        print_json({"ions": rows})
        return
    out = console()
    if not found:
        out.print("The code declares no ION: `ion.dagster` has the decorators.")
    for definition in found:
        nodes = ", ".join(node.name for node in definition.nodes)
        state = _state(definition.ion, recorded)
        out.print(shown(f"{definition.ion}  version {short(definition.version)}  nodes {nodes}{state}"))


def _state(ion: str, recorded: list[str] | None) -> str:
    if recorded is None:
        return ""
    return " (recorded)" if ion in recorded else " (already recorded)"


def _flat(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
