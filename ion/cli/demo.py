"""``ion demo``: the whole story on real engines, every printed claim checked."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

import click

_STORY = "gov_assets.patient_tests.demo:story"


@click.command(name="demo")
@click.option("--story", default=_STORY, show_default=True, help="module:name of the story.")
@click.option("--keep", is_flag=True, help="Leave everything running; `ion down` ends it.")
@click.option("--port", default=3000, show_default=True, help="Port of Dagster and the governance page.")
@click.option("--mlflow-port", default=5000, show_default=True, help="Port of MLflow's page.")
def command(story: str, *, keep: bool, port: int, mlflow_port: int) -> None:
    """Play a story: train, decide, serve, swap, refuse, explain, sign, tamper.

    Starts the deployment, trains three models on real Spark, serves the approved ones in a real Flink
    job, has two people sign a high-risk one, tampers with registry and history, and checks everything it
    prints. Exits with 0 only if all of it held.

    Example: ion demo --keep
    """
    from rich.console import Console
    from rich.table import Table

    from ion.cli.demonstration.claims import Claims
    from ion.cli.demonstration.commands import DagsterRuns
    from ion.cli.demonstration.play import Play
    from ion.cli.demonstration.reviewing import Reviewing
    from ion.cli.demonstration.tampering import Tampering
    from ion.cli.deployment import Deployment
    from ion.home import Home

    home = Home.find()
    os.environ["ION_HOME"] = str(home.root)
    module, _, name = story.partition(":")
    console = Console(highlight=False)
    deployment = Deployment(home, Path.cwd(), port=port, mlflow_port=mlflow_port)
    claims = Claims(console)
    claims.step("starting Dagster, MLflow's page and the governance page")
    started = deployment.start(lambda service: claims.step(f"  {service.name} is ready"))
    try:
        story_played = getattr(import_module(module), name)
        runs = DagsterRuns("127.0.0.1", port)
        people = home.root.parent / f"{home.root.name}-people"
        reviewing = Reviewing(story_played.review, claims, runs, people)
        tampering = Tampering(claims, home, f"http://127.0.0.1:{mlflow_port}")
        prediction = Play(story_played, claims, runs, tampering, reviewing).perform()
        table = Table("claim", "seen", title="Every claim was checked", title_justify="left")
        for claim in claims.made:
            table.add_row(claim.text, claim.seen)
        console.print(table)
        console.print(f"Dagster          {deployment.dagster_url}\nGovernance page  {deployment.web_url}")
        console.print(f"MLflow           {deployment.mlflow_url}\nAsk              {_invoked()} why {prediction}")
    finally:
        if keep or not started:
            console.print(f"It is all left running; `{_invoked()} down` ends it.")
        else:
            claims.step("stopping everything")
            deployment.stop()
            claims.step("stopped")


def _invoked() -> str:
    """Return the command as this shell would find it."""
    return "ion" if shutil.which("ion") else os.path.relpath(sys.argv[0])
