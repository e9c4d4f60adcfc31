"""``ion doctor``: what this machine has, what it lacks, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.answering import console, did_not_hold, json_option, print_json, shown
from ion.cli.project import module_option
from ion.home import Home

if TYPE_CHECKING:
    from ion.cli.examination import Finding
    from ion.cli.governed_assets import AssetState


@click.command(name="doctor")
@click.option("--project", is_flag=True, help="List the assets in code: governed, observed and ungoverned.")
@click.option("--hands", is_flag=True, help="Say what separates this user from governance's keys and decisions.")
@module_option
@json_option
def command(module: str, *, project: bool, hands: bool, as_json: bool) -> None:
    r"""Examine this machine, or with --project the assets of the project in this folder.

    With --hands, look at who may read and write what: as governance's user, or as one that hands its facts
    over. Exits with 1 when something that is needed is missing.

    \b
    Example: ion doctor
             ion doctor --project
             ion doctor --hands
    """
    if project:
        from ion.cli.governed_assets import asset_states

        _print_assets(asset_states(module), as_json=as_json)
        return
    if hands:
        from ion.cli.separation import separation

        findings = separation(Home.find())
    else:
        from ion.cli.examination import examine

        findings = examine()
    if as_json:
        print_json({"ok": all(f.ok for f in findings if f.needed), "findings": [f.as_dict() for f in findings]})
    else:
        _print_findings(findings)
    if not all(finding.ok for finding in findings if finding.needed):
        did_not_hold()


def _print_findings(findings: list[Finding]) -> None:
    out = console()
    for finding in findings:
        mark, style = ("✓", "green") if finding.ok else (("✗", "red") if finding.needed else ("-", "yellow"))
        out.print(shown(f"{mark} {finding.name:16} {finding.found}"), style=style, soft_wrap=True)
        if not finding.ok and finding.advice:
            out.print(shown(f"  {'':16} {finding.advice}"), soft_wrap=True)


def _print_assets(states: list[AssetState], *, as_json: bool) -> None:
    if as_json:
        print_json({"assets": [state.as_dict() for state in states]})
        return
    out = console()
    for title, advice in (
        ("governed", ""),
        ("observed", "its runs are in the record; a decorator of ion.dagster would add data versions and checks"),
        ("ungoverned", "never seen to run here, and it declares nothing"),
    ):
        names = [state.asset for state in states if state.state == title]
        out.print(f"{title}: {len(names)}" + (f" ({advice})" if names and advice else ""), style="bold")
        for name in names:
            out.print(shown(f"  {name}"))
