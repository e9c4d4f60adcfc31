"""``ion evidence``: all that was signed about a model, as a folder that anyone can check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, opened, print_json, short, shown, when

if TYPE_CHECKING:
    from ion.interop.bundle import Verification
    from ion.interop.bundle.exporting import Exported

_file = click.Path(path_type=Path, dir_okay=False)
_STATES = {"ok": ("✓", "green"), "problem": ("✗", "red"), "unchecked": ("·", "yellow")}


@click.group(name="evidence")
def command() -> None:
    """Hand out and check the evidence on a model.

    Example: ion evidence verify evidence/00833be69d0c
    """


@command.command(name="export")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option("--node", default="", help="For which node it was approved; needed where there are several.")
@json_option
def export(model: str, output: Path, node: str, *, as_json: bool) -> None:
    """Write the evidence on MODEL: its files, what was signed about them, proofs from the ledger.

    The same state gives the same bytes. A folder with anything else in it is left alone. Only models that
    were approved have such evidence.

    Example: ion evidence export 00833be69d0c -o evidence/00833be69d0c
    """
    from ion.graph import find_model
    from ion.interop.bundle.exporting import export_bundle

    with opened() as asked:
        exported = export_bundle(asked.store, asked.home, find_model(asked.store, model), output, node=node)
    if as_json:
        print_json(exported.as_dict())
    else:
        _print_exported(exported)


@command.command(name="verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--root", type=_file, help="Public key of the root you trust, as you were given it.")
@click.option("--trust", type=_file, help="A newer trust document, by which the evidence must hold now.")
@json_option
def verify(folder: Path, root: Path | None, trust: Path | None, *, as_json: bool) -> None:
    """Verify the evidence in FOLDER, which needs no store, no home and no network.

    Checks every file, every signature, the people's quorum, and the proofs from the ledger, at the time of the
    decision and now. Without --root (or --trust, beside which root.pub.pem lies) the evidence vouches for
    itself: then only its parts are shown to agree. Exits with 1 when anything does not hold.

    Example: ion evidence verify evidence/00833be69d0c --root root.pub.pem
    """
    from ion.evidence.public_keys import load_public
    from ion.evidence.trust import TrustFile
    from ion.interop.bundle import verify_bundle

    pinned = root or (trust.with_name("root.pub.pem") if trust else None)
    newer = TrustFile(trust, pinned).read() if trust and pinned else None
    checked = verify_bundle(folder, root=load_public(pinned) if pinned else None, trust=newer)
    if as_json:
        print_json(checked.as_dict())
    else:
        _print(checked)
    if not checked.ok:
        did_not_hold()


def _print_exported(exported: Exported) -> None:
    told = f"{exported.files} files" if exported.new else "was there already, the same"
    out = console()
    out.print(f"✓ {shown(exported.folder)}: {told}", style="green", soft_wrap=True)
    out.print(f"  model {short(exported.model)}, approved for {shown(exported.node)}")


def _print(checked: Verification) -> None:
    out = console()
    for step in checked.steps:
        mark, style = _STATES[str(step.as_dict()["state"])]
        out.print(shown(f"{mark} {step.name}: {step.told}".removesuffix(": ")), style=style, soft_wrap=True)
        for problem in step.problems:
            told = problem.as_dict()
            out.print(shown(f"    {told['file']}: {told['message']}"), style=style, soft_wrap=True)
    for warning in checked.warnings:
        out.print(f"! {warning}", style="yellow", soft_wrap=True)
    if checked.model:
        said = checked.as_dict()
        out.print(f"  model {short(checked.model)} for {shown(checked.node)}, decided {when(said['decided'])}")
        then, now = ("valid" if held else "not valid" for held in (checked.valid_then, checked.ok))
        out.print(f"  {then} then, {now} now")
