"""MLflow's webhook to us: registered where MLflow has webhooks, so that the watch need not wait for its next look."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from resources.mlflow.server import SOON, client, reaching

if TYPE_CHECKING:
    from mlflow.entities.webhook import WebhookEventStr

NAME = "ion-mirror-watch"
PATH = "/hooks/mlflow"
"""Under the governance page; see `ion.web.hooks`."""
_EVENTS: tuple[WebhookEventStr, ...] = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def reachable(tracking_uri: str, page: str) -> bool:
    """Return whether an MLflow at ``tracking_uri`` could tell the page: a server, and not ours from elsewhere."""
    if not tracking_uri.startswith("http"):
        return False
    return urlsplit(page).hostname not in _LOOPBACK or urlsplit(tracking_uri).hostname in _LOOPBACK


def ensure_webhook(tracking_uri: str, page: str, secret: str) -> None:
    """Have MLflow tell the governance page at ``page`` what changes in its registry, signed with ``secret``.

    Raises:
        IonError: ``mlflow-unreachable``; ``mlflow-refused`` also where MLflow has no webhooks or wants another
            address (https, a public one).
    """
    url = page.rstrip("/") + PATH
    with reaching(tracking_uri):
        registry = client(tracking_uri, SOON)
        known = [hook for hook in registry.list_webhooks(max_results=1000) if hook.url == url]
        for hook in known[1:]:
            registry.delete_webhook(hook.webhook_id)
        if known:
            # Its secret cannot be read, only set.
            registry.update_webhook(known[0].webhook_id, events=list(_EVENTS), secret=secret, status="ACTIVE")
        else:
            registry.create_webhook(NAME, url, list(_EVENTS), "wakes the mirror watch of dagster-ion", secret)
