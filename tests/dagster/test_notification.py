"""The notification sensor over real HTTP and SMTP servers on this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import os
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import dagster as dg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ion.decision import outbox
from ion.errors import IonError
from ion.facts import AlertRaised, NotificationSent
from ion.home import Home
from ion.store import GovernanceStore, open_store
from resources.notifications import channels
from resources.notifications.mail import MailChannel
from resources.notifications.webhook import WebhookChannel
from sensors import notification as sensor
from tests.docs.blocks import marked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

SECRET = "a-secret-of-the-test"  # noqa: S105 - these two are of the test
PASSWORD = "pass-word"  # noqa: S105


@dataclass
class Hook:
    """A real HTTP server; ``answers`` are the next status codes, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    delay: float = 0.0

    @property
    def texts(self) -> list[str]:
        return [json.loads(body)["ion"]["text"].rpartition(": ")[2] for _, body in self.got]


@contextmanager
def listening(hook: Hook) -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(hook.delay)
            status = hook.answers.pop(0) if hook.answers else 204
            hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"{hook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/of-the-address-itself-a-secret"
        yield hook
        server.shutdown()


class Mailbox(socketserver.StreamRequestHandler):
    """As much of SMTP as `smtplib` speaks: EHLO, STARTTLS, AUTH PLAIN, MAIL, RCPT, DATA, QUIT."""

    letters: ClassVar[list[EmailMessage]]
    spoken: ClassVar[list[str]]
    answers: ClassVar[dict[str, list[str]]]
    tls: ClassVar[ssl.SSLContext | None] = None
    timeout = 10

    def say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def handle(self) -> None:
        self.say("220 ready")
        while line := self.rfile.readline():
            text = line.decode().strip()
            verb = text.upper().split(" ")[0]
            self.spoken.append(text)
            if planned := self.answers.get(verb):
                self.say(planned.pop(0))
                continue
            if verb == "EHLO":
                encrypted = isinstance(self.connection, ssl.SSLSocket)
                self.say("250-here" if self.tls is not None else "250 here")
                if self.tls is not None:
                    self.say("250 AUTH PLAIN" if encrypted else "250 STARTTLS")
            elif verb == "STARTTLS" and self.tls is not None:
                self.say("220 go")
                self.connection = self.tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)  # type: ignore[assignment]
            elif verb == "DATA":
                self.say("354 go")
                self.take()
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("235 yes" if verb == "AUTH" else "250 yes")

    def take(self) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        self.letters.append(message_from_bytes(b"".join(lines), policy=policy.default))  # type: ignore[arg-type]
        self.say("250 taken")


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None) -> Iterator[tuple[type[Mailbox], int]]:
    class Box(Mailbox):
        letters: ClassVar[list[EmailMessage]] = []
        spoken: ClassVar[list[str]] = []
        answers: ClassVar[dict[str, list[str]]] = {}

    Box.tls = tls
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Box) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Box, int(server.server_address[1])
        server.shutdown()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening(Hook()) as running:
        yield running


@dataclass
class Desk:
    """The sensor over a store, ticked with the cursor it gave."""

    store: GovernanceStore
    cursor: str | None = None

    def alert(self, message: str) -> None:
        with self.store.command() as command:
            command.record(AlertRaised(scope="ward/scores", alert="planted", message=message))

    def tick(self) -> str:
        result = sensor.notification(dg.build_sensor_context(cursor=self.cursor))
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return str(result.skip_reason)

    def settled(self, count: int, seconds: float = 20.0) -> list[NotificationSent]:
        """Tick until so many are told or given up."""
        deadline = time.monotonic() + seconds
        while len(self.sent()) < count and time.monotonic() < deadline:
            self.tick()
            time.sleep(0.05)
        assert len(self.sent()) == count
        return self.sent()

    def sent(self) -> list[NotificationSent]:
        return [record.fact for record in self.store.find(NotificationSent)]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in ("WEBHOOK", "SECRET", "SMTP", "SMTP_PASSWORD", "TO", "FROM"):
        monkeypatch.delenv(f"ION_NOTIFY_{name}", raising=False)
    monkeypatch.setattr(sensor, "_under_way", {})
    monkeypatch.setattr(outbox, "FIRST_REST_US", 50_000)
    monkeypatch.setenv("ION_WEB_URL", "https://ion.example/ion")
    store = open_store(Home.find().make().store_url)
    yield Desk(store)
    store.close()


@pytest.fixture
def webhook(desk: Desk, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Hook:  # noqa: ARG001 - it clears first
    monkeypatch.setenv("ION_NOTIFY_WEBHOOK", hook.url)
    monkeypatch.setenv("ION_NOTIFY_SECRET", SECRET)
    return hook


def verified(headers: dict[str, str], body: bytes, secret: str) -> bool:
    given = dict(part.split("=", 1) for part in headers["ion-signature"].split(","))
    wanted = hmac.new(secret.encode(), given["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(given["v1"], wanted) and abs(time.time() - int(given["t"])) < 60


def test_nothing_is_sent_without_a_channel_and_a_new_one_begins_at_the_head(desk: Desk, hook: Hook) -> None:
    desk.alert("long ago")
    assert "no channel is configured" in desk.tick()
    with pytest.MonkeyPatch.context() as configured:
        configured.setenv("ION_NOTIFY_WEBHOOK", hook.url)
        desk.tick()
        desk.alert("new")
        desk.settled(1)
    desk.alert("while nobody was to be told")
    desk.tick()
    with pytest.MonkeyPatch.context() as configured:
        configured.setenv("ION_NOTIFY_WEBHOOK", hook.url)
        desk.tick()
        desk.tick()
    assert hook.texts == ["new"]


def test_a_delivery_is_signed_and_says_what_happened_and_where(desk: Desk, webhook: Hook) -> None:
    desk.tick()
    desk.alert("<!channel> is <https://evil.example|fine> & well")
    (told,) = desk.settled(1)
    ((headers, body),) = webhook.got
    assert verified(headers, body, SECRET)
    assert not verified(headers, body + b" ", SECRET)
    assert not verified(headers, body, SECRET + "x")
    sent = json.loads(body)
    assert headers["ion-delivery"] == sent["ion"]["delivery"]
    assert headers["content-type"] == "application/json"
    assert sent["text"] == (
        "Alert planted on ward/scores: &lt;!channel&gt; is &lt;https://evil.example|fine&gt; &amp; well\n"
        "https://ion.example/ion/ions/ward"
    )
    assert sent["ion"]["fact"] == told.subject
    assert (told.channel, told.event, told.attempts, told.delivered) == ("webhook", "alert", 1, True)


def test_openssl_verifies_the_signature_as_the_documentation_shows(desk: Desk, webhook: Hook, tmp_path: Path) -> None:
    desk.tick()
    desk.alert("one")
    desk.settled(1)
    headers, body = webhook.got[0]
    script = marked("docs/how-to/notify.md", "run", "verify")

    def status() -> int:
        return subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=os.environ | {"SECRET": SECRET}, check=False
        ).returncode

    (tmp_path / "signature").write_text(headers["ion-signature"])
    (tmp_path / "body.json").write_bytes(body)
    assert status() == 0
    (tmp_path / "body.json").write_bytes(body.replace(b"one", b"two"))
    assert status() == 1


def test_failures_are_tried_again_under_one_delivery_id_until_it_is_taken(desk: Desk, webhook: Hook) -> None:
    webhook.answers = [500, 503, 307, 404, 429]
    desk.tick()
    desk.alert("one")
    (told,) = desk.settled(1)
    assert told.attempts == 6
    assert {headers["ion-delivery"] for headers, _ in webhook.got} == {webhook.got[0][0]["ion-delivery"]}
    assert len(webhook.got) == 6, "a redirect was followed, or a delivery repeated"
    for _ in range(3):
        desk.tick()
    assert len(webhook.got) == 6


def test_a_refused_connection_is_tried_again_also_by_another_process(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ION_NOTIFY_WEBHOOK", f"http://127.0.0.1:{free.getsockname()[1]}")
    desk.tick()
    desk.alert("one")
    assert "ConnectionError" in desk.tick()
    assert desk.sent() == []
    sensor._under_way.clear()
    time.sleep(0.2)
    with listening(Hook()) as found:
        monkeypatch.setenv("ION_NOTIFY_WEBHOOK", found.url)
        (told,) = desk.settled(1)
    assert found.texts == ["one"]
    assert told.attempts >= 2


def test_a_message_that_is_not_wanted_holds_up_no_other(desk: Desk, webhook: Hook) -> None:
    webhook.answers = [400]
    desk.tick()
    desk.alert("bad")
    desk.alert("good")
    desk.tick()
    assert webhook.texts == ["bad", "good"]
    assert len(desk.settled(2)) == 2
    assert webhook.texts == ["bad", "good", "bad"]


def test_a_channel_that_hangs_delays_neither_the_tick_nor_another_channel(
    desk: Desk, webhook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor, "TICK_SECONDS", 0.5)
    webhook.delay = 8.0  # longer than we wait for an answer
    with mail_server() as (box, port):
        monkeypatch.setenv("ION_NOTIFY_SMTP", f"smtp://ion@127.0.0.1:{port}")
        monkeypatch.setenv("ION_NOTIFY_TO", "ward@example.invalid")
        desk.tick()
        desk.alert("one")
        began = time.monotonic()
        longest = 0.0
        while not box.letters and time.monotonic() - began < 4:
            at = time.monotonic()
            said = desk.tick()
            longest = max(longest, time.monotonic() - at)
        assert box.letters, "the other channel waited"
        assert "webhook: under way" in said
        assert longest < 2.0
    webhook.delay = 0.0
    desk.settled(2)


def test_a_letter_goes_to_all_receivers_with_nothing_slipped_into_its_headers(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server() as (box, port):
        monkeypatch.setenv("ION_NOTIFY_SMTP", f"smtp://127.0.0.1:{port}")
        monkeypatch.setenv("ION_NOTIFY_FROM", "ion@example.invalid")
        monkeypatch.setenv("ION_NOTIFY_TO", "anna@example.invalid, ben@example.invalid")
        desk.tick()
        desk.alert("one\r\nBcc: everybody@example.invalid\r\n.\r\n")
        desk.settled(1)
    (letter,) = box.letters
    assert letter["To"] == "anna@example.invalid, ben@example.invalid"
    assert letter["Bcc"] is None
    assert letter["Subject"].startswith("[ion] alert: Alert planted on ward/scores: one Bcc: everybody")
    assert "https://ion.example/ion/ions/ward" in letter.get_content()
    assert [line.split(":")[1] for line in box.spoken if line.startswith("rcpt TO")] == [
        "<anna@example.invalid>",
        "<ben@example.invalid>",
    ]


def test_a_mail_server_that_is_busy_is_asked_again_and_one_that_declines_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server() as (box, port):
        monkeypatch.setenv("ION_NOTIFY_SMTP", f"smtp://ion@127.0.0.1:{port}")
        monkeypatch.setenv("ION_NOTIFY_TO", "ward@example.invalid")
        box.answers = {"MAIL": ["451 busy"], "RCPT": ["550 no such user"], "DATA": ["554 not this"]}
        desk.tick()
        desk.alert("one")
        said: list[str] = []
        while not desk.sent() and len(said) < 60:
            said.append(desk.tick())
            time.sleep(0.1)
    (told,) = desk.sent()
    assert told.attempts == 4
    assert len(box.letters) == 1
    problems = "\n".join(said)
    for wanted in ("not available: answered 451", "declined: answered 550", "declined: answered 554"):
        assert wanted in problems


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Give a server context whose certificate clients of this test believe."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail of the test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


@pytest.mark.usefixtures("desk")
def test_the_password_goes_over_an_encrypted_line_only(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    message = outbox.Message("d", "f", "alert", 1, "one", "https://ion.example/ion")

    def channel(port: int) -> MailChannel:
        return MailChannel.at(f"smtp://ion@127.0.0.1:{port}", "ward@example.invalid", password=PASSWORD)

    with mail_server(tls) as (box, port):
        channel(port).send(message)
        assert len(box.letters) == 1
        told = [line for line in box.spoken if line.upper().startswith("AUTH")]
        assert base64.b64decode(told[0].split()[-1]) == f"\0ion\0{PASSWORD}".encode()
        assert box.spoken.index("STARTTLS") < box.spoken.index(told[0])
        monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
        with pytest.raises(outbox.Unavailable):
            channel(port).send(message)
    with mail_server() as (open_box, port):
        monkeypatch.setattr("resources.notifications.mail._LOOPBACK", set())
        with pytest.raises(outbox.Unavailable, match="no encryption"):
            channel(port).send(message)
        assert not any("AUTH" in line.upper() for line in open_box.spoken)


def test_the_secret_is_made_once_for_its_owner_alone_and_stands_nowhere_else(
    desk: Desk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ION_NOTIFY_WEBHOOK", hook.url)
    desk.tick()
    desk.alert("one")
    desk.settled(1)
    file = Home.find().keys / "notifications"
    secret = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert verified(*hook.got[0], secret)
    hook.answers = [500]
    desk.alert("two")
    said = desk.tick()
    everything = b"".join(raw for _, raw, _ in desk.store.entries()).decode() + said + str(desk.cursor)
    (channel,) = channels(Home.find())
    for hidden in (secret, "of-the-address-itself"):
        assert hidden not in everything + repr(channel)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK", "ftp://host/x"),
        ("WEBHOOK", "host/x"),
        ("SMTP", "host:25"),
        ("SMTP", "smtp://ion:password@host"),
        ("SMTP", "smtp://host:port"),
        ("TO", ""),
        ("TO", "nobody"),
        ("TO", "a@b.example\nBcc: c@d.example"),
        ("FROM", "ion"),
        ("SECRET", "short"),
    ],
)
@pytest.mark.usefixtures("webhook")
def test_a_wrong_setting_is_named_and_nothing_is_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("ION_NOTIFY_SMTP", "smtp://ion@127.0.0.1:1")
    monkeypatch.setenv("ION_NOTIFY_TO", "a@b.example")
    monkeypatch.setenv(f"ION_NOTIFY_{name}", value)
    with pytest.raises(IonError) as caught:
        channels(Home.find())
    assert caught.value.code in {"bad-notification", "bad-secret"}
    assert f"ION_NOTIFY_{name}" in caught.value.message
    assert "password@" not in caught.value.message
    desk.cursor = '{"webhook": {"after": 1}}'
    assert "nobody is told" in desk.tick()
    assert desk.cursor == '{"webhook": {"after": 1}}', "it was forgotten how far the channels were"


def test_a_channel_shows_no_secret() -> None:
    assert "xyz" not in repr(WebhookChannel("https://host/xyz", "xyz-xyz-xyz-xyz-xyz"))
