"""Real servers: several on one PostgreSQL, killed while agents report; and TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ion.agent.body import SPOOL_TYPE
from ion.agent.remote import RemoteReceiver
from ion.agent.shipping import ship_all
from ion.clock import now_us
from ion.errors import IonError
from ion.facts import AlertRaised, GapNoted, ParamRecorded
from ion.ledger import verify_chain
from ion.server.tokens import issue
from ion.store import open_store
from ion.testing import written
from tests.integration.server_process import Server, free_port, reporter, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = 86_400_000_000

pytestmark = pytest.mark.integration


def test_replicas_on_one_database_killed_while_agents_report_lose_and_double_nothing(
    postgres: Callable[[], str], tmp_path: Path
) -> None:
    url = postgres()
    store = open_store(url)
    token = issue(store, ["agent"], ["*"], ["wines/*"], until=now_us() + DAY, by="test")[1]
    servers = [Server(tmp_path / name, url, free_port()).start() for name in ("one", "two")]
    programs = [
        reporter(f"program{number}", server.url, token, tmp_path / f"host-{number}")
        for number, server in enumerate(servers)
    ]
    try:
        agents = []
        for program in programs:
            assert program.stdout is not None
            agents.append(program.stdout.readline().strip())
        known = store.index.acknowledged
        for _ in range(3):
            reached = [known(agent) or 0 for agent in agents]
            wait_for(
                lambda reached=reached: all(
                    (known(agent) or 0) > before + 200 for agent, before in zip(agents, reached, strict=True)
                ),
                "facts of both agents",
            )
            servers[0].kill()
            servers[0].start()
        servers[0].kill()  # for good: what its agent has left goes through the other replica
        told = []
        for program in programs:
            out, _ = program.communicate("", timeout=120)
            assert program.returncode == 0
            told.append(int(out))
        other = RemoteReceiver(servers[1].url, token)
        for number in range(2):
            ship_all(tmp_path / f"host-{number}" / "spool", other)
            assert list((tmp_path / f"host-{number}" / "spool").iterdir()) == []
        other.close()
        assert servers[1].ready()
    finally:
        for program in programs:
            program.kill()
            program.wait()
        for server in servers:
            server.kill()
    stored = {agent: [] for agent in agents}
    for _, raw, _ in store.entries():
        from ion.records import read_record

        record = read_record(raw)
        if record.agent in stored:
            stored[record.agent].append(record.seq)
    assert {agent: sorted(found) for agent, found in stored.items()} == {
        agent: list(range(count)) for agent, count in zip(agents, told, strict=True)
    }
    assert len(store.find(ParamRecorded)) == sum(told) - len(told)
    assert store.find(AlertRaised) == []
    assert store.find(GapNoted) == []
    head = store.head()
    assert verify_chain(store.entries(), head.position, head.link) == []
    before = store.projections()
    store.rebuild()
    assert store.projections() == before
    store.close()


def certificate(folder: Path, name: str, *addresses: str) -> tuple[Path, Path]:
    """Write a certificate signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names or [x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_a_stalled_body_nonsense_and_too_much_are_answered_and_others_served(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = open_store(url)
    token = issue(store, ["agent"], ["*"], ["*"], until=now_us() + DAY, by="test")[1]
    server = Server(tmp_path, url, free_port()).start()
    try:
        receiver = RemoteReceiver(server.url, token)
        assert receiver.head() == 1
        receiver.close()
        with socket.create_connection(("127.0.0.1", server.port), 60) as stalled:
            head = f"POST /v1/agents/a/facts HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
            stalled.sendall(f"{head}Content-Length: 1000\r\n\r\nx".encode())
            answer = stalled.makefile("rb").readline()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert server.ready()  # others are served meanwhile and after
        with socket.create_connection(("127.0.0.1", server.port), 60) as nonsense:
            nonsense.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            assert nonsense.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")
        too_large = RemoteReceiver(server.url, token)
        with pytest.raises(IonError) as caught:
            too_large._asked("POST", "/v1/agents/a/facts", os.urandom(81 * 1024 * 1024), SPOOL_TYPE)
        assert (caught.value.code, "413" in caught.value.message) == ("receiver-refused", True)
        too_large.close()
    finally:
        server.kill()
        store.close()


def test_facts_go_over_tls_to_a_server_whose_certificate_is_trusted_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = open_store(url)
    token = issue(store, ["agent"], ["*"], ["*"], until=now_us() + DAY, by="test")[1]
    right, other = certificate(tmp_path, "right", "127.0.0.1"), certificate(tmp_path, "other")
    records = [written(GapNoted(scope="agent-1", what="x", count=1, reason=""))]

    def reported(shown: tuple[Path, Path], trusted: Path | None) -> str:
        server = Server(tmp_path, url, free_port(), ("--tls-cert", str(shown[0]), "--tls-key", str(shown[1])))
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        receiver = RemoteReceiver(server.start().url, token)
        try:
            receiver.append(records)
        except IonError as error:
            return error.code
        else:
            return ""
        finally:
            receiver.close()
            server.kill()

    assert reported(right, None) == "receiver-unreachable"
    assert reported(right, other[0]) == "receiver-unreachable"
    assert reported(other, other[0]) == "receiver-unreachable"  # trusted, but for another name
    assert store.find(GapNoted) == []
    assert reported(right, right[0]) == ""
    assert len(store.find(GapNoted)) == 1
    store.close()
