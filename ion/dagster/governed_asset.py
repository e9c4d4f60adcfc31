"""The ordinary Dagster asset behind each decorator: the engineer's signature, our body."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import dagster as dg

from ion.dagster.execution import split_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.dagster.declaration import Declaration


def governed_asset(
    function: Callable[..., object],
    body: Callable[..., dg.MaterializeResult[object]],
    declaration: Declaration,
    *,
    deps: Sequence[dg.AssetKey] = (),
    owners: Sequence[str] = (),
    kinds: Sequence[str] = (),
    partitions_def: dg.PartitionsDefinition | None = None,
    required_resource_keys: set[str] | None = None,
) -> dg.AssetsDefinition:
    """Make the asset whose compute function is ``body`` under the signature of ``function``."""
    shown, upstream = split_parameters(function)
    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)
    parameters = [first, *shown]
    annotated = {p.name: p.annotation for p in parameters if p.annotation is not inspect.Parameter.empty}
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Dagster reads
    body.__annotations__ = annotated
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
        check_specs=[dg.AssetCheckSpec(name, asset=dg.AssetKey(key)) for name in _checks(declaration)],
        partitions_def=partitions_def,
        required_resource_keys=required_resource_keys,
    )(body)


def call(function: Callable[..., object], given: Mapping[str, object], **own: object) -> object:
    """Call the engineer's function with what Dagster gave and those of our own values it asks for."""
    asked = inspect.signature(function).parameters
    return function(**{name: value for name, value in own.items() if name in asked}, **given)


def _checks(declaration: Declaration) -> list[str]:
    names = declaration.details.get("checks", [])
    return [str(name) for name in names] if isinstance(names, list) else []
