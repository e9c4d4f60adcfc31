"""What an engineer writes: ordinary Dagster assets, governed.

Each decorator returns an ordinary ``AssetsDefinition``. Parameters named like another dataset of
the same ION are its inputs; ``config`` and resources work as in ``@asset``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import dagster as dg
import pandas as pd

from ion.agent.dataset import checked_classification
from ion.agent.run import Model, NodeRun
from ion.dagster.batch import predict
from ion.dagster.declaration import Declaration
from ion.dagster.execution import asset_run, read_inputs, split_parameters
from ion.decision import PolicySet
from ion.errors import IonError
from ion.home import web_url

Decorator = Callable[[Callable[..., object]], dg.AssetsDefinition]


class Expectation(Protocol):
    """What one expectation found."""

    @property
    def passed(self) -> bool:
        """Whether it held."""

    @property
    def severity(self) -> str:
        """``ERROR`` or ``WARN``."""

    def as_dict(self) -> Mapping[str, object]:
        """Return the JSON form: counts and aggregates, no row."""


class Expectations(Protocol):
    """A named suite of expectations; call it with a frame."""

    @property
    def name(self) -> str:
        """What the check is called."""

    def __call__(self, frame: pd.DataFrame) -> Sequence[Expectation]:
        """Validate the frame."""


def dataset(
    *,
    ion: str,
    classification: str,
    node: str = "data",
    expectations: Expectations | None = None,
    owners: Sequence[str] = (),
    kinds: Sequence[str] = (),
) -> Decorator:
    """Declare a dataset asset: its function returns a pandas frame, kept by content digest.

    Args:
        ion: the ION it belongs to, and its asset group.
        classification: public, internal, private or pii.
        node: the node it is a component of.
        expectations: a suite that becomes an asset check and evidence.
        owners: as in ``@asset``.
        kinds: as in ``@asset``.
    """
    checked_classification(classification)

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        checks = [] if expectations is None else [expectations.name]
        details = {"classification": classification, "checks": checks}
        declaration = Declaration(ion, name, "dataset", node, details)

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult:
            with asset_run(context, function, node=f"{ion}/{node}", kind="custom", component=name) as run:
                read_inputs(run, ion, name, given)
                frame = _call(function, context, given)
                if not isinstance(frame, pd.DataFrame):
                    raise IonError("not-a-frame", f"{ion}/{name} returned a {type(frame).__name__}", "return a pandas data frame")
                version = run.dataset(f"{ion}/{name}", frame, role="output", classification=classification, component=name)
                results = [] if expectations is None else [_check(run, context, expectations, frame, f"{ion}/{name}", version.digest)]
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

        return _asset(function, body, declaration, checks=checks, owners=owners, kinds=kinds or ("pandas",))

    return decorate


def training(
    *,
    ion: str,
    policy: PolicySet,
    approval: str = "approval",
    deployment: str = "deployment",
    owners: Sequence[str] = (),
    kinds: Sequence[str] = (),
    required_resource_keys: set[str] | None = None,
) -> Decorator:
    """Declare a training asset: its function takes ``run`` and returns an `ion.Model`.

    The model becomes a candidate; ``policy`` decides whether it is promoted. ``approval`` (the
    policy node) and ``deployment`` name the assets that are derived from it: an ION with two
    models names them apart.
    """

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        declaration = Declaration(ion, name, "training", name, {"policy_set": policy.reference, "approval": approval, "deployment": deployment})

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult:
            with asset_run(context, function, node=f"{ion}/{name}", kind="training", component=name) as run:
                datasets = read_inputs(run, ion, name, given)
                model = _call(function, context, given, run=run)
                if not isinstance(model, Model):
                    raise IonError("not-a-model", f"{ion}/{name} returned a {type(model).__name__}", "return an ion.Model")
                result = _candidate(run, f"{ion}/{name}", f"{ion}/{approval}", model, datasets)
            run.end()
            return result

        return _asset(
            function, body, declaration, owners=owners, kinds=kinds or ("python",),
            required_resource_keys=required_resource_keys,
        )

    return decorate


def inference(*, ion: str, model: str, classification: str, on_lease_end: str = "stop", owners: Sequence[str] = ()) -> Decorator:
    """Declare a batch inference asset: its function takes ``scorer`` and returns a pandas frame.

    The scorer is the promoted model, admitted by the gate at the start of every run; everything it
    scores gets a prediction id, is captured under encryption, and can be asked about and replayed.

    Raises:
        IonError: at run time, ``not-admitted`` when no approved model may be served.
    """

    def decorate(function: Callable[..., object]) -> dg.AssetsDefinition:
        name = function.__name__
        details = {"mode": "batch", "model": model, "on_lease_end": on_lease_end, "classification": classification}
        declaration = Declaration(ion, name, "inference", name, details)

        def body(context: dg.AssetExecutionContext, **given: object) -> dg.MaterializeResult:
            with asset_run(context, function, node=f"{ion}/{name}", kind="inference", component=name) as run:
                read_inputs(run, ion, name, given)
                result = predict(
                    run, f"{ion}/{name}", classification,
                    lambda scorer: _call(function, context, given, scorer=scorer),
                )
            run.end()
            return result

        deps = [dg.AssetKey([ion, "deployment"])]
        return _asset(function, body, declaration, deps=deps, owners=owners, kinds=("pandas",))

    return decorate


def streaming(*, ion: str, name: str, model: str, classification: str, on_lease_end: str = "stop", kinds: Sequence[str] = ("flink",), description: str = "") -> dg.AssetSpec:
    """Declare a streaming inference node: a job outside Dagster that the deployment sensor keeps running."""
    details = {"mode": "streaming", "model": model, "on_lease_end": on_lease_end, "classification": classification}
    return dg.AssetSpec(
        [ion, name],
        deps=[dg.AssetKey([ion, "deployment"])],
        group_name=ion,
        description=description,
        kinds=set(kinds),
        metadata=Declaration(ion, name, "inference", name, details).metadata(),
    )


def _candidate(run: NodeRun, name: str, judge: str, model: Model, datasets: Mapping[str, str]) -> dg.MaterializeResult:
    digest = run.model(name, model, datasets=datasets)
    run.send(judge, "model", digest)
    metadata: dict[str, object] = {f"metric {metric}": value for metric, value in model.metrics.items()}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest),
        tags={"ion/node_run": run.id},
        metadata={
            **metadata,
            **model.shown,
            "model digest": digest,
            "governance page": dg.MetadataValue.url(f"{web_url()}/models/{digest}"),
        },
    )


def _check(run: NodeRun, context: dg.AssetExecutionContext, suite: Expectations, frame: pd.DataFrame, asset: str, digest: str) -> dg.AssetCheckResult:
    results = suite(frame)
    passed = bool(results) and all(result.passed for result in results)
    failed = [result for result in results if not result.passed]
    severity = "WARN" if failed and all(result.severity == "WARN" for result in failed) else "ERROR"
    rows = [dict(result.as_dict()) for result in results]
    run.check(asset, suite.name, digest, passed=passed, severity=severity, results=rows, engine_run=context.run.run_id)
    table = dg.MetadataValue.table([dg.TableRecord(row) for row in rows]) if rows else dg.MetadataValue.text("no expectation ran")
    return dg.AssetCheckResult(
        check_name=suite.name,
        passed=passed,
        severity=dg.AssetCheckSeverity(severity),
        metadata={"expectations": table, "dataset digest": digest, "failed": len(failed)},
    )


def _call(function: Callable[..., object], context: dg.AssetExecutionContext, given: Mapping[str, object], **own: object) -> object:
    if "context" in inspect.signature(function).parameters:
        own["context"] = context
    return function(**own, **given)


def _asset(
    function: Callable[..., object],
    body: Callable[..., dg.MaterializeResult],
    declaration: Declaration,
    *,
    checks: Sequence[str] = (),
    deps: Sequence[dg.AssetKey] = (),
    owners: Sequence[str] = (),
    kinds: Sequence[str] = (),
    required_resource_keys: set[str] | None = None,
) -> dg.AssetsDefinition:
    """Make the asset whose compute function is ``body`` under the signature of ``function``."""
    shown, upstream = split_parameters(function)
    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)
    body.__signature__ = inspect.Signature([first, *shown])  # type: ignore[attr-defined]
    body.__annotations__ = {p.name: p.annotation for p in [first, *shown] if p.annotation is not inspect.Parameter.empty}
    body.__name__ = function.__name__
    body.__doc__ = function.__doc__
    key = [declaration.ion, declaration.name]
    return dg.asset(
        key=key,
        ins={name: dg.AssetIn(key=[declaration.ion, name]) for name in upstream},
        deps=list(deps),
        group_name=declaration.ion,
        owners=list(owners),
        kinds=set(kinds),
        tags={"ion": declaration.ion, "ion/role": declaration.role},
        metadata=declaration.metadata(),
        check_specs=[dg.AssetCheckSpec(name, asset=dg.AssetKey(key)) for name in checks],
        required_resource_keys=required_resource_keys,
        code_version=None,
    )(body)


def _column_schema(schema: Sequence[Mapping[str, str]]) -> dg.TableSchema:
    return dg.TableSchema(columns=[dg.TableColumn(item["name"], item["type"]) for item in schema])
