"""The project in the working folder, as the commands that read it name it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.errors import IonError

if TYPE_CHECKING:
    from ion.graph import Definition

module_option = click.option(
    "--module",
    default="gov_assets.definitions",
    show_default=True,
    help="The code location: module, or module:attribute when its Definitions are not called defs.",
)


def project_definitions(module: str) -> list[Definition]:
    """Return the IONs that the project's assets declare.

    Raises:
        IonError: ``extra-missing`` without Dagster; as `ion.dagster.code_location.location_definitions`.
    """
    try:
        from ion.dagster.code_location import location_definitions
    except ImportError as error:
        raise _no_dagster() from error
    return location_definitions(module)


def project_assets(module: str) -> dict[str, bool]:
    """Return asset key → whether it is governed.

    Raises:
        IonError: ``extra-missing`` without Dagster; as `ion.dagster.code_location.governed_keys`.
    """
    try:
        from ion.dagster.code_location import governed_keys
    except ImportError as error:
        raise _no_dagster() from error
    return governed_keys(module)


def _no_dagster() -> IonError:
    hint = "pip install 'dagster-ion[dagster]'"
    return IonError("extra-missing", "reading a code location needs dagster", hint)
