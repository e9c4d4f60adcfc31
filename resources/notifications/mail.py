"""E-mail by SMTP: one message per notice, encrypted where the server can, never a password over an open line."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ion.decision.outbox import Declined, Unavailable
from ion.errors import IonError

if TYPE_CHECKING:
    from ion.decision.outbox import Message

ANSWER_SECONDS = 5.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_PERMANENT = 500
_HINT = "docs/how-to/notify.md shows what to set"


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends from one address to some others by one server; ``implicit`` TLS from the first byte (``smtps``)."""

    host: str
    port: int
    implicit: bool
    to: tuple[str, ...]
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def at(cls, server: str, to: str, *, sender: str = "", password: str = "") -> MailChannel:
        """Read ``smtp://user@host:port`` (``smtps://``), and addresses separated by commas.

        Raises:
            IonError: ``bad-notification``.
        """
        try:
            parts = urlsplit(server)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.password:
            raise IonError("bad-notification", "ION_NOTIFY_SMTP is not smtp://user@host:port without a password", _HINT)
        implicit, user = parts.scheme == "smtps", unquote(parts.username or "")
        receivers = tuple(_address(each, "ION_NOTIFY_TO") for each in to.split(",") if each.strip())
        if not receivers:
            raise IonError("bad-notification", "ION_NOTIFY_TO names nobody", _HINT)
        named = sender or (user if "@" in user else f"ion@{parts.hostname}")
        return cls(
            parts.hostname,
            port or (465 if implicit else 25),
            implicit,
            receivers,
            _address(named, "ION_NOTIFY_FROM") if sender else named,
            user,
            password,
        )

    @property
    def name(self) -> str:
        """What it is called in facts."""
        return "email"

    def send(self, message: Message) -> None:
        """Deliver one message.

        Raises:
            Unavailable: no connection, no encryption where it is needed, no login.
            Declined: this message is not wanted, or by none of its receivers.
        """
        letter = letter_of(message, self.sender, self.to)
        try:
            with self._connected() as server:
                server.send_message(letter, self.sender, list(self.to))
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            codes = [code for code, _ in error.recipients.values()] if hasattr(error, "recipients") else []
            code = min(codes, default=getattr(error, "smtp_code", 0))
            if code >= _PERMANENT:
                raise Declined(f"answered {code}") from None
            raise Unavailable(f"answered {code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(type(error).__name__) from None  # a server's words may repeat addresses

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.implicit:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=ANSWER_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=ANSWER_SECONDS)
        try:
            server.ehlo()
            encrypted = self.implicit
            if not encrypted and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
                encrypted = True
            self._log_in(server, encrypted=encrypted)
        except BaseException:
            server.close()
            raise
        return server

    def _log_in(self, server: smtplib.SMTP, *, encrypted: bool) -> None:
        if self.password and not encrypted and self.host not in _LOOPBACK:
            raise Unavailable("no encryption, and the password is not sent without")
        if self.password:
            server.login(self.user, self.password)


def letter_of(message: Message, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Return the e-mail. Its Message-ID is the same however often it is sent."""
    letter = EmailMessage()
    letter["From"], letter["To"] = sender, ", ".join(to)
    subject = f"[ion] {message.event}: {message.text}"
    letter["Subject"] = subject if len(subject) <= 150 else f"{subject[:149]}…"  # noqa: PLR2004 - what mail programs show
    letter["Date"] = format_datetime(datetime.fromtimestamp(message.us / 1e6, tz=UTC))
    letter["Message-ID"] = f"<{message.delivery}@ion.invalid>"
    letter["Ion-Delivery"], letter["Ion-Event"] = message.delivery, message.event
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(f"{message.text}\n\n{message.url}\n")
    return letter


def _address(text: str, variable: str) -> str:
    _, address = parseaddr(text.strip())
    local, _, host = address.partition("@")
    if not local or not host or any(char.isspace() or not char.isprintable() for char in text.strip()):
        raise IonError("bad-notification", f"{variable} holds no plain e-mail address: {text.strip()[:80]!r}", _HINT)
    return address
