"""A code location read from its module: the assets in it, and the IONs they declare."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import dagster as dg

from ion.dagster.declaration import declarations, definitions_of
from ion.errors import IonError

if TYPE_CHECKING:
    from ion.graph import Definition


def location_specs(module: str) -> list[dg.AssetSpec]:
    """Return the specs of all assets in ``module``, or ``module:attribute`` (by default ``defs``).

    Raises:
        IonError: ``no-project`` when it cannot be imported or holds no ``Definitions``.
    """
    name, _, attribute = module.partition(":")
    hint = "run this in the project's folder, or name its code location with --module"
    try:
        found = getattr(import_module(name), attribute or "defs")
    except ModuleNotFoundError as error:
        raise IonError("no-project", f"cannot import {name}: {error}", hint) from error
    except Exception as error:
        raise IonError("no-project", f"{name} cannot be loaded: {type(error).__name__}: {error}"[:500], hint) from error
    if not isinstance(found, dg.Definitions):
        raise IonError("no-project", f"{module} is a {type(found).__name__}, not Definitions", hint)
    return list(found.resolve_all_asset_specs())


def location_definitions(module: str) -> list[Definition]:
    """Return the IONs that the assets of a code location declare.

    Raises:
        IonError: as `location_specs`; ``bad-definition``.
    """
    return definitions_of(declarations(location_specs(module)))


def governed_keys(module: str) -> dict[str, bool]:
    """Return asset key (``a/b``) → whether it declares its part in an ION, or was derived from one that does.

    Raises:
        IonError: as `location_specs`.
    """
    return {
        spec.key.to_user_string(): bool(declarations([spec])) or "ion" in spec.tags for spec in location_specs(module)
    }
