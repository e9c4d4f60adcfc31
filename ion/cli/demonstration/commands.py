"""The story's hands: the ``ion`` command, and Dagster's own client. Nothing else is called."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ion.cli.demonstration.story import Story, Training

_COMMAND_SECONDS = 120
_RUN_SECONDS = 240


def ion(*arguments: str, allowed: Sequence[int] = (0,)) -> Any:  # noqa: ANN401 - a JSON document
    """Run ``ion … --json`` and return its document.

    Raises:
        IonError: ``demo-command`` when it exits with a code that is not ``allowed``.
    """
    command = [sys.executable, "-m", "ion.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    if done.returncode not in allowed:
        shown = (done.stderr or done.stdout).strip()[-800:]
        raise IonError("demo-command", f"`ion {' '.join(arguments)}` exited with {done.returncode}: {shown}")
    return json.loads(done.stdout)


def wait_for(what: str, look: Callable[[], Any], *, seconds: float, pause: float = 0.5) -> Any:  # noqa: ANN401
    """Return the first true value of ``look``.

    Raises:
        IonError: ``demo-waited`` when there is none within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise IonError("demo-waited", f"waited {seconds:.0f} s in vain for {what}", "the logs are in .ion/logs")
        time.sleep(pause)


@dataclass(frozen=True, slots=True)
class DagsterRuns:
    """Starts training runs through Dagster's GraphQL API, as its page does."""

    host: str
    port: int

    def train(self, story: Story, training: Training) -> str:
        """Launch one run of the story's assets and return its id when it has succeeded.

        Raises:
            IonError: ``demo-run`` when Dagster refuses or the run fails.
        """
        from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

        client = DagsterGraphQLClient(self.host, port_number=self.port)
        model = story.assets[-1]
        try:
            run = client.submit_job_execution(
                "__ASSET_JOB",
                repository_location_name="assets",
                run_config={"ops": {f"{story.ion}__{model}": {"config": dict(training.config)}}},
                tags={"ion/demo": training.title},
                asset_selection=[[story.ion, asset] for asset in story.assets],
            )
        except DagsterGraphQLClientError as error:
            raise IonError("demo-run", f"Dagster would not start the training: {error}"[:600]) from error
        status = wait_for(
            "the training run", lambda: self._ended(client.get_run_status(run).value), seconds=_RUN_SECONDS
        )
        if status != "SUCCESS":
            raise IonError("demo-run", f"the training run {run} ended as {status}", "open it in Dagster, see its logs")
        return run

    @staticmethod
    def _ended(status: str) -> str:
        return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else ""
