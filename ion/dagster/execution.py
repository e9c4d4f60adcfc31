"""Running an asset as part of a node run: the glue between a Dagster step and the client."""

from __future__ import annotations

import getpass
import inspect
import os
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import dagster as dg
import pandas as pd

from ion.agent.code import code_state, project_of
from ion.agent.dataset import DatasetVersion, dataset_digest, dataset_schema, dataset_table
from ion.agent.opening import shared_client
from ion.agent.run import failure
from ion.clock import now_us
from ion.errors import IonError
from ion.home import Home
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ion.agent.run import NodeRun

_OWN = frozenset({"run", "scorer", "context", "config"})


@contextmanager
def asset_run(
    context: dg.AssetExecutionContext, function: Callable[..., object], node: str, kind: str, component: str
) -> Iterator[NodeRun]:
    """Run the body as component ``component`` of the node's run.

    Assets of one node in one Dagster run share a node run. On an exception the node run is ended
    as failed; a success is ended by whoever finishes the node (`NodeRun.end`), or by the
    observation sensor when Dagster's run has ended.
    """
    project, folders = project_of(Path(inspect.getsourcefile(function) or ""))
    run = shared_client(Home.find()).node_run(
        node,
        kind=kind,
        code=_code_of_run(context.run.run_id, project, folders),
        config=_config(context),
        engine="dagster",
        engine_run=context.run.run_id,
        run_id=node_run_id(context.run.run_id, node),
        submitter=_submitter(context.run.tags),
    )
    started = now_us()
    try:
        yield run
    except BaseException as error:
        details = {"status": "failed", "started": started, "ended": now_us()}
        run.component(component, "asset", details)
        run.end("failed", failure(error))
        raise
    run.component(component, "asset", {"status": "succeeded", "started": started, "ended": now_us()})
    run.client.ship()


def _submitter(tags: Mapping[str, str]) -> str:
    """Return who asked for a run: as its tags say, else ``ION_SUBMITTER``, else this process's user. Not proven."""
    told = tags.get("ion/submitter") or tags.get("user") or os.environ.get("ION_SUBMITTER")
    if told:
        return told
    try:
        return str(getpass.getuser())
    except OSError:  # a user without a name, as in some containers
        return ""


@lru_cache(maxsize=8)
def _code_of_run(_dagster_run: str, project: Path, folders: tuple[str, ...]) -> dict[str, object]:
    """Return the state of the code, asked once per Dagster run and process: the code is loaded by then."""
    return code_state(project, folders)


def node_run_id(dagster_run: str, node: str) -> str:
    """Return the id of the run of ``node`` that a Dagster run is."""
    return observed_id("dagster run", dagster_run, node)


def read_inputs(run: NodeRun, ion: str, component: str, given: Mapping[str, object]) -> dict[str, str]:
    """Record the frames an asset was given as inputs; returns dataset name → digest read."""
    found: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, pd.DataFrame):
            continue
        table = dataset_table(value)
        digest = dataset_digest(table)
        # Where its rows are kept and how it is classified, its writer has recorded.
        version = DatasetVersion(f"{ion}/{name}", digest, "", len(value), dataset_schema(table), "")
        run.use_dataset(version, role="input", component=component)
        found[f"{ion}/{name}"] = digest
    return found


def split_parameters(function: Callable[..., object]) -> tuple[list[inspect.Parameter], list[str]]:
    """Return the parameters Dagster should see (resolved annotations) and the upstream names.

    ``run`` and ``scorer`` are ours; ``config`` and resources stay Dagster's; the rest are upstream
    datasets of the same ION, by name.

    Raises:
        IonError: ``unresolved-annotation``.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise IonError(
            "unresolved-annotation",
            f"an annotation of {function.__name__} cannot be read: {error}",
            "import what it names when the module runs, not only under TYPE_CHECKING",
        ) from error
    shown: list[inspect.Parameter] = []
    upstream: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in {"run", "scorer", "context"}:
            continue
        hint = hints.get(name, inspect.Parameter.empty)
        shown.append(parameter.replace(annotation=hint, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD))
        if name not in _OWN and not _is_resource(hint):
            upstream.append(name)
            shown[-1] = shown[-1].replace(annotation=inspect.Parameter.empty)
    return shown, upstream


def _is_resource(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, dg.ConfigurableResource):
        return True
    return "resource_param" in getattr(hint, "__metadata__", ())


def _config(context: dg.AssetExecutionContext) -> dict[str, object]:
    """Return what the assets of this Dagster run were configured with; resources may hold passwords."""
    configured = context.run.run_config
    return {"ops": configured["ops"]} if configured.get("ops") else {}
