"""MLflow's registry: what the mirror writes into it, and what the watch reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.decision.mirror import SeenModel, SeenVersion
from ion.errors import IonError
from ion.home import Home
from resources.mlflow.server import SOON, client, reaching

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

NEWEST = 200
"""Of each registered model so many versions are looked at, and those that are asked for."""
_GONE = "RESOURCE_DOES_NOT_EXIST"


def mirror(name: str, version: str, alias: str, tags: Mapping[str, str], *, tracking_uri: str = "") -> int:
    """Put tags on a version and make ``alias`` name it; returns when it was made (µs). Repeating it is harmless.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        registry = client(uri, SOON)
        made = registry.get_model_version(name, version)
        for key, value in tags.items():
            registry.set_model_version_tag(name, version, key, value)
        registry.set_registered_model_alias(name, alias, version)
        return int(made.creation_timestamp or 0) * 1000


def set_alias(name: str, version: str, alias: str, *, tracking_uri: str = "") -> None:
    """Make ``alias`` of a registered model name ``version``, or nothing when that is empty; repeating it is harmless.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        registry = client(uri, SOON)
        if version:
            registry.set_registered_model_alias(name, alias, version)
        else:
            registry.delete_registered_model_alias(name, alias)


def alias_version(name: str, alias: str, *, tracking_uri: str = "") -> str | None:
    """Return the version that ``alias`` of a registered model names, or None.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        found = _registered(client(uri, SOON), name)
        return None if found is None else _aliases(found).get(alias)


def look_at(
    name: str,
    asked: Collection[str],
    bytes_problem: Callable[[str, str], str | None],
    *,
    tracking_uri: str = "",
) -> SeenModel | None:
    """Return a registered model as it is now; None when there is none.

    Args:
        name: of the registered model.
        asked: versions to look for, however old.
        bytes_problem: given a version and its source, says how its files differ (None: not looked at).
        tracking_uri: of the server; by default that of the home.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    uri = tracking_uri or Home.find().mlflow_url
    with reaching(uri):
        registry = client(uri, SOON)
        found = _registered(registry, name)
        if found is None:
            return None
        page = registry.search_model_versions(f"name='{name}'", max_results=NEWEST, order_by=["version_number DESC"])
        versions = {str(item.version): item for item in page}
        oldest = min(map(int, versions), default=0) if len(page) == NEWEST else 0
        for version in sorted(set(asked) - set(versions)):
            if int(version) < oldest and (item := _version(registry, name, version)) is not None:
                versions[version] = item
    seen = {version: _seen(item, bytes_problem) for version, item in versions.items()}
    return SeenModel(_aliases(found), seen, frozenset(asked))


def _registered(registry: MlflowClient, name: str) -> RegisteredModel | None:
    return _unless_gone(lambda: registry.get_registered_model(name))


def _version(registry: MlflowClient, name: str, version: str) -> ModelVersion | None:
    return _unless_gone(lambda: registry.get_model_version(name, version))


def _unless_gone(ask: Callable[[], RegisteredModel | ModelVersion]) -> RegisteredModel | ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code == _GONE:
            return None
        raise


def _aliases(found: RegisteredModel) -> dict[str, str]:
    return {str(alias): str(version) for alias, version in dict(found.aliases).items()}


def _seen(item: ModelVersion, bytes_problem: Callable[[str, str], str | None]) -> SeenVersion:
    try:
        problem = bytes_problem(str(item.version), str(item.source or ""))
    except (IonError, OSError):
        problem = None  # its files cannot be reached just now, the registry can
    return SeenVersion(
        version=str(item.version),
        registry_run=str(item.run_id or ""),
        created_us=int(item.creation_timestamp or 0) * 1000,
        tags={str(key): str(value) for key, value in dict(item.tags or {}).items()},
        bytes_problem=problem,
    )
