"""What an engineer writes: ordinary Dagster assets, governed.

Each decorator returns an ordinary ``AssetsDefinition``. Parameters named like another dataset of
the same ION are its inputs; ``run`` is the node run, ``context`` Dagster's; ``config`` and resources
work as in ``@asset``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import dagster as dg
import pandas as pd

from ion.agent.dataset import checked_classification
from ion.agent.model import Model
from ion.dagster.batch import predict
from ion.dagster.declaration import Declaration
from ion.dagster.execution import asset_run, read_inputs
from ion.dagster.expectations import evaluate
from ion.dagster.governed_asset import call, governed_asset
from ion.errors import IonError
from ion.home import web_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.agent.run import NodeRun
    from ion.dagster.expectations import Expectations
    from ion.decision import PolicySet
    from ion.decision.falling_back import OnRevocation
    from ion.evidence.statements import LeaseEnd

Decorator = Callable[[Callable[..., object]], dg.AssetsDefinition]


_DATA = "data"
"""The node of datasets that no training node claims."""


def dataset(
    *,
    ion: str,
    classification: str,
    node: str = _DATA,
    expectations: Expectations | None = None,
    owners: Sequence[str] = (),
    kinds: Sequence[str] = ("pandas",),
    partitions_def: dg.PartitionsDefinition | None = None,
) -> Decorator:
    """Declare a dataset asset: its function returns a pandas frame, kept by content digest.

    Args:
        ion: the ION it belongs to, and its asset group.
        classification: public, internal, private or pii.
        node: the training node it is a component of; by default ``data``, a node of its own.
        expectations: a suite that becomes an asset check and evidence.
        owners: as in ``@asset``.
        kinds: as in ``@asset``.
        partitions_def: as in ``@asset``; every partition is a dataset version of its own.

    Raises:
        IonError: ``bad-classification``; at run time ``not-a-frame``.
    """
    checked_classification(classification)
    kind = "custom" if node == _DATA else "training"

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        asset = f"{ion}/{name}"
        checks = [] if expectations is None else [expectations.name]
        declaration = Declaration(ion, name, "dataset", node, {"classification": classification, "checks": checks})

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult[object]:
            with asset_run(context, function, node=f"{ion}/{node}", kind=kind, component=name) as run:
                read_inputs(run, ion, name, given)
                frame = call(function, given, context=context, run=run)
                if not isinstance(frame, pd.DataFrame):
                    found = type(frame).__name__
                    raise IonError("not-a-frame", f"{asset} returned a {found}", "return a pandas data frame")
                version = run.dataset(asset, frame, role="output", classification=classification, component=name)
                results = []
                if expectations is not None:
                    identity = {"asset": asset, "digest": version.digest, "dagster_run": context.run.run_id}
                    results.append(evaluate(expectations, frame, run, **identity))
                return dg.MaterializeResult(
                    value=frame,
                    data_version=dg.DataVersion(version.digest),
                    tags={"ion/node_run": run.id},
                    check_results=results,
                    metadata={
                        "dagster/row_count": len(frame),
                        "dagster/column_schema": _column_schema(version.schema),
                        "dataset digest": version.digest,
                        "classification": classification,
                        "governance page": dg.MetadataValue.url(f"{web_url()}/datasets/{version.digest}"),
                    },
                )

        return governed_asset(
            function,
            body,
            declaration,
            owners=owners,
            kinds=kinds,
            partitions_def=partitions_def,
        )

    return decorate


def training(
    *,
    ion: str,
    policy: PolicySet,
    approval: str = "approval",
    deployment: str = "deployment",
    owners: Sequence[str] = (),
    kinds: Sequence[str] = ("python",),
    required_resource_keys: set[str] | None = None,
) -> Decorator:
    """Declare a training asset: its function takes ``run`` and returns an `ion.Model`.

    The model becomes a candidate; ``policy`` decides whether it is promoted. ``approval`` (the
    policy node) and ``deployment`` name the assets that are derived from it: an ION with two
    models names them apart.

    Raises:
        IonError: at run time, ``not-a-model``.
    """

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        details = {
            "policy_set": policy.reference,
            "approval": approval,
            "deployment": deployment,
            "owners": list(owners),
        }
        declaration = Declaration(ion, name, "training", name, details)

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult[object]:
            with asset_run(context, function, node=f"{ion}/{name}", kind="training", component=name) as run:
                datasets = read_inputs(run, ion, name, given)
                model = call(function, given, context=context, run=run)
                if not isinstance(model, Model):
                    found = type(model).__name__
                    raise IonError("not-a-model", f"{ion}/{name} returned a {found}", "return an ion.Model")
                result = _candidate(run, f"{ion}/{name}", f"{ion}/{approval}", model, datasets)
            run.end()
            return result

        return governed_asset(
            function,
            body,
            declaration,
            owners=owners,
            kinds=kinds,
            required_resource_keys=required_resource_keys,
        )

    return decorate


def inference(  # noqa: PLR0913 - what a declaration says, by name
    *,
    ion: str,
    model: str,
    classification: str,
    on_lease_end: LeaseEnd = "stop",
    on_revocation: OnRevocation = "stop",
    deployment: str = "deployment",
    subject: str = "",
    owners: Sequence[str] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
) -> Decorator:
    """Declare a batch inference asset: its function takes ``scorer`` and returns a pandas frame.

    The scorer is the promoted model, admitted by the gate at the start of every run; everything it
    scores gets a prediction id, is captured under encryption, and can be asked about and replayed.
    ``model`` names the training asset, ``deployment`` its deployment asset. When the serving model is
    revoked, the node stops, or with ``on_revocation="fall_back"`` goes back to the last approved one;
    a run under way fails. ``subject`` is the column of the returned frame that says whose row it is: each
    person's rows are then captured under keys of their own, which `ion erase` destroys.

    Raises:
        IonError: ``bad-classification``, ``no-scorer``; at run time, ``not-admitted`` when no
            approved model may be served (any more), ``not-a-frame``, ``no-subject``.
    """
    checked_classification(classification)

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        if "scorer" not in inspect.signature(function).parameters:
            raise IonError("no-scorer", f"{ion}/{name} does not take the model", "give it a parameter named scorer")
        details = {"mode": "batch", "model": model, "on_lease_end": on_lease_end, "classification": classification}
        details |= _where_given(on_revocation, subject)
        declaration = Declaration(ion, name, "inference", name, details)

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult[object]:
            with asset_run(context, function, node=f"{ion}/{name}", kind="inference", component=name) as run:
                read_inputs(run, ion, name, given)
                result = predict(
                    run,
                    f"{ion}/{name}",
                    classification,
                    lambda scorer: call(function, given, context=context, run=run, scorer=scorer),
                    subject,
                )
            run.end()
            return result

        deps = [dg.AssetKey([ion, deployment])]
        kinds = ("pandas",)
        return governed_asset(
            function, body, declaration, deps=deps, owners=owners, kinds=kinds, partitions_def=partitions_def
        )

    return decorate


def streaming(  # noqa: PLR0913 - what a declaration says, by name
    *,
    ion: str,
    name: str,
    model: str,
    classification: str,
    on_lease_end: LeaseEnd = "stop",
    on_revocation: OnRevocation = "stop",
    deployment: str = "deployment",
    subject: str = "",
    owners: Sequence[str] = (),
    description: str = "",
) -> dg.AssetSpec:
    """Declare a streaming inference node: a job outside Dagster that the deployment sensor keeps running.

    When the serving model is revoked, the node stops, or with ``on_revocation="fall_back"`` goes back to
    the last approved one.

    With ``subject`` (e.g. ``patient``) each row of the stream begins with a field of that meaning, before
    the features: whose row it is. Each person's rows are then captured under keys of their own.

    Raises:
        IonError: ``bad-classification``.
    """
    checked_classification(classification)
    details = {"mode": "streaming", "model": model, "on_lease_end": on_lease_end, "classification": classification}
    details |= _where_given(on_revocation, subject)
    return dg.AssetSpec(
        [ion, name],
        deps=[dg.AssetKey([ion, deployment])],
        group_name=ion,
        description=description,
        kinds={"flink"},
        owners=list(owners),
        tags={"ion": ion, "ion/role": "inference"},
        metadata=Declaration(ion, name, "inference", name, details).metadata(),
    )


def _where_given(on_revocation: OnRevocation, subject: str) -> dict[str, str]:
    """Return what is said only where it is not the default: a definition keeps its version otherwise."""
    found = {"on_revocation": str(on_revocation)} if on_revocation != "stop" else {}
    return found | ({"subject": subject} if subject else {})


def _candidate(
    run: NodeRun, name: str, judge: str, model: Model, datasets: Mapping[str, str]
) -> dg.MaterializeResult[object]:
    """Record the model as a candidate, tell the policy node, and return what Dagster shows of it."""
    digest = run.model(name, model, datasets=datasets)
    run.send(judge, "model", digest)
    shown = cast("Mapping[str, dg.MetadataValue]", model.shown)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest),
        tags={"ion/node_run": run.id},
        metadata={
            **{f"metric {metric}": dg.MetadataValue.float(value) for metric, value in model.metrics.items()},
            **shown,
            **{f"trained on {dataset}": _asset_link(dataset) for dataset in datasets},
            "model digest": dg.MetadataValue.text(digest),
            "governance page": dg.MetadataValue.url(f"{web_url()}/models/{digest}"),
        },
    )


def _asset_link(name: str) -> dg.MetadataValue:
    return dg.MetadataValue.asset(dg.AssetKey(name.split("/")))


def _column_schema(schema: Sequence[Mapping[str, str]]) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(item["name"], item["type"]) for item in schema])
