"""The story's hands: the ``ion`` command, and Dagster's own client. Nothing else is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_COMMAND_SECONDS = 120
_RUN_SECONDS = 240


def ion(*arguments: str, allowed: Sequence[int] = (0,), environment: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - a JSON document
    """Run ``ion … --json``, with ``environment`` added to this process's, and return its document.

    Raises:
        IonError: ``demo-command`` when it exits with a code that is not ``allowed``.
    """
    command = [sys.executable, "-m", "ion.cli", *arguments, "--json"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
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

    def materialize(self, ion: str, assets: Sequence[str], config: Mapping[str, object], title: str) -> str:
        """Launch one run of assets of an ION and return its id when it has succeeded.

        ``config`` is that of the last asset, if it takes any.

        Raises:
            IonError: ``demo-run`` when Dagster refuses or the run fails.
        """
        from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

        client = DagsterGraphQLClient(self.host, port_number=self.port)
        try:
            run = client.submit_job_execution(
                "__ASSET_JOB",
                repository_location_name="assets",
                repository_name="__repository__",
                run_config={"ops": {f"{ion}__{assets[-1]}": {"config": dict(config)}}} if config else {},
                tags={"ion/demo": title},
                asset_selection=[[ion, asset] for asset in assets],
            )
        except DagsterGraphQLClientError as error:
            raise IonError("demo-run", f"Dagster would not start the run: {error}"[:600]) from error
        status = wait_for("the run", lambda: self._ended(client.get_run_status(run).value), seconds=_RUN_SECONDS)
        if status != "SUCCESS":
            raise IonError("demo-run", f"the run {run} ended as {status}", "open it in Dagster, see its logs")
        return run

    @staticmethod
    def _ended(status: str) -> str:
        return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else ""
