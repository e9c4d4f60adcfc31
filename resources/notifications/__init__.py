"""Channels by which people are told: a webhook (signed, Slack-compatible) and e-mail. Configured by the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ion.evidence.shared_secret import NOTIFICATIONS, shared_secret
from resources.notifications.mail import MailChannel
from resources.notifications.webhook import WebhookChannel

if TYPE_CHECKING:
    from ion.decision.outbox import Channel
    from ion.home import Home

__all__ = ["MailChannel", "WebhookChannel", "channels"]


def channels(home: Home) -> list[Channel]:
    """Return the channels that are configured; none by default.

    Raises:
        IonError: ``bad-notification`` for an address that is none; as `ion.evidence.shared_secret`.
    """
    found: list[Channel] = []
    webhook, server = os.environ.get("ION_NOTIFY_WEBHOOK", ""), os.environ.get("ION_NOTIFY_SMTP", "")
    if webhook:
        found.append(WebhookChannel(webhook, shared_secret(home, NOTIFICATIONS)))
    if server:
        password = os.environ.get("ION_NOTIFY_SMTP_PASSWORD", "")
        to, sender = os.environ.get("ION_NOTIFY_TO", ""), os.environ.get("ION_NOTIFY_FROM", "")
        found.append(MailChannel.at(server, to, sender=sender, password=password))
    return found
