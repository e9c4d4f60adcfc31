"""Reaching an MLflow server or database: soon given up, and its errors said without credentials."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

_SETTINGS = {
    # A server that does not answer is reported in seconds; by default it takes minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    # Nobody is told from here that this deployment exists.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
SOON = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
"""Settings of a process that only asks and sets small things, and keeps no training waiting."""


def without_credentials(uri: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def client(uri: str, settings: dict[str, str] | None = None) -> MlflowClient:
    """Return a client that gives up soon; what the environment says comes before ``settings``."""
    for name, value in (_SETTINGS | (settings or {})).items():
        os.environ.setdefault(name, value)
    import mlflow

    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Say what went wrong with the server, without its credentials.

    Raises:
        IonError: ``mlflow-unreachable``, ``mlflow-refused``.
    """
    try:
        yield
    except IonError:
        raise
    except Exception as error:
        where = without_credentials(uri) if uri.startswith("http") else f"its {urlsplit(uri).scheme} store"
        if getattr(error, "error_code", "INTERNAL_ERROR") != "INTERNAL_ERROR":
            raise IonError(
                "mlflow-refused",
                f"MLflow at {where} said no: {str(error).splitlines()[0]}"[:300],
                "look at the MLflow page; what governance decided is not affected",
            ) from error
        raise IonError(
            "mlflow-unreachable",
            f"MLflow at {where} does not answer ({type(error).__name__})",
            "start it, or unset MLFLOW_TRACKING_URI to track in a file under the ION home",
        ) from None  # the chain below is five exceptions that all say "refused"
