"""The webhook: one signed POST per message, in JSON that Slack and those like it show.

Signature: ``Ion-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "<seconds>.<body>">``; docs/how-to/notify.md.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ion.canonical import canonical_bytes
from ion.clock import now_us, rfc3339
from ion.decision.outbox import Declined, Unavailable
from ion.errors import IonError

if TYPE_CHECKING:
    from ion.decision.outbox import Message

CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 5.0
_MESSAGE_ITSELF = frozenset({400, 406, 409, 411, 413, 414, 415, 422})
"""Answers that say that this message is not wanted; any other failure would meet every message."""


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """POSTs to one address; redirects are not followed."""

    url: str = field(repr=False)
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no address."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise IonError("bad-notification", "ION_NOTIFY_WEBHOOK is no http or https address", "write https://…")

    @property
    def name(self) -> str:
        """What it is called in facts."""
        return "webhook"

    def send(self, message: Message) -> None:
        """Deliver one message.

        Raises:
            Unavailable: no connection, no answer in time, or an answer that concerns every message.
            Declined: this message is not wanted.
        """
        import requests  # comes with dagster; a tenth of a second

        body = body_of(message)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "dagster-ion",
            "Ion-Delivery": message.delivery,
            "Ion-Event": message.event,
            "Ion-Signature": signature(self.secret, now_us() // 1_000_000, body),
        }
        timeout = (CONNECT_SECONDS, ANSWER_SECONDS)
        try:
            with requests.post(
                self.url, body, headers=headers, timeout=timeout, allow_redirects=False, stream=True
            ) as answer:
                status, rest = answer.status_code, answer.headers.get("Retry-After", "")
        except requests.RequestException as error:
            raise Unavailable(type(error).__name__) from None  # its text holds the address, a secret at Slack's
        if status in _MESSAGE_ITSELF:
            raise Declined(f"answered {status}")
        if not 200 <= status < 300:  # noqa: PLR2004 - success
            raise Unavailable(f"answered {status}", _rest_us(rest))


def body_of(message: Message) -> bytes:
    """Return the JSON body: ``text`` for Slack and those like it, ``ion`` for programs."""
    shown = f"{_escaped(message.text)}\n{message.url}"
    about = {
        "delivery": message.delivery,
        "event": message.event,
        "fact": message.fact,
        "happened": rfc3339(message.us),
        "text": message.text,
        "url": message.url,
    }
    return canonical_bytes({"text": shown, "ion": about})


def signature(secret: str, seconds: int, body: bytes) -> str:
    """Return the header value that whoever knows the secret can verify."""
    signed = f"{seconds}.".encode() + body
    return f"t={seconds},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _escaped(text: str) -> str:
    """Return text without Slack's own markup: no fact may mention a channel or disguise a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rest_us(header: str) -> int:
    """Return how long ``Retry-After`` asks for; its other form, a date, is not understood."""
    try:
        seconds = float(header)
    except ValueError:
        return 0
    return int(min(seconds, 3600.0) * 1e6) if math.isfinite(seconds) and seconds > 0 else 0
