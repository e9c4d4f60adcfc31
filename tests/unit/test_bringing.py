"""What a node elsewhere brings by URL: verified, whole before its pointer, and nothing that a lying server says."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ion.agent.fetching import ServerLink, token_of_environment
from ion.errors import IonError
from ion.evidence import sign_statement
from ion.evidence.decisions import RequiredApprovals
from ion.home import Home
from ion.serving import Admitted, Halted, Refused
from ion.serving.courier import Courier
from ion.serving.erased import ErasedKeys, erased_path, write_erased
from ion.serving.standing import Standing
from tests.unit.bringing_scene import TOKEN, Elsewhere, Server, respond, running
from tests.unit.test_gate_scene import ANNA, CARL, DAY, NODE, NOW, Scene, linear_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.set_up(tmp_path / "governance")


@pytest.fixture
def server(scene: Scene) -> Iterator[Server]:
    with running(Server(scene)) as made:
        yield made


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere.at(tmp_path / "elsewhere")
    yield made
    made.close()


def another_model(scene: Scene, serial: int, seed: float = 0.5, **changes: object) -> None:
    """Promote another model."""
    scene.files = {"model.json": linear_model(seed)}
    scene.point(scene.promotion(serial=serial, cause=f"decision-{serial}", **changes))


def model_file(scene: Scene) -> str:
    """Return the digest of the model's one file."""
    return scene.artifacts.put_model(scene.files).entries[0].sha256


def test_what_was_promoted_is_admitted_elsewhere_with_nothing_shared_but_the_url(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    approval = scene.approval("anna", ANNA)
    decision = scene.decision(automatic=False, approvals=(RequiredApprovals("approver", 1, (approval,)),))
    promotion = scene.point(scene.promotion(decision))
    bringer = there.bringer(server.url)
    assert bringer.look()
    assert bringer.settled
    admitted = there.gate(lambda: NOW).admit()
    assert isinstance(admitted, Admitted), admitted
    assert (admitted.model, admitted.files) == (promotion.model, scene.files)
    assert there.pointer.read_bytes() == scene.pointer.read_bytes()
    assert there.told == []
    server.asked.clear()
    assert not bringer.look()  # and nothing is asked for twice
    assert server.asked == [f"/v1/nodes/{NODE}/pointer"]


def test_the_pointer_comes_last_and_every_other_byte_is_there_before(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.point()
    bringer = there.bringer(server.url)
    present: list[bool] = []

    def note(handler: BaseHTTPRequestHandler) -> None:
        present.append(there.pointer.exists())
        respond(handler, scene.artifacts.get(model_file(scene)))

    server.lies[model_file(scene)] = note
    bringer.look()
    assert (present, there.pointer.exists()) == ([False], True)


def test_a_swap_a_renewal_and_a_halt_follow(scene: Scene, server: Server, there: Elsewhere) -> None:
    first = scene.point()
    bringer, gate = there.bringer(server.url), there.gate(lambda: NOW)
    bringer.look()
    assert isinstance(gate.admit(), Admitted)
    scene.point(first.renewed(NOW, NOW + 2 * DAY))
    server.asked.clear()
    assert bringer.look()
    assert [path for path in server.asked if "/artifacts/" in path] == []
    renewed = gate.admit()
    assert isinstance(renewed, Admitted)
    assert renewed.lease_end == NOW + 2 * DAY
    another_model(scene, 2)
    bringer.look()
    second = gate.admit()
    assert isinstance(second, Admitted)
    assert (second.serial, second.files) == (2, scene.files)
    scene.halt(serial=3)
    bringer.look()
    assert isinstance(gate.admit(), Halted)


def test_an_older_pointer_that_the_server_gives_again_is_refused_and_told_once(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.point()
    older = scene.pointer.read_bytes()
    bringer = there.bringer(server.url)
    another_model(scene, 2)
    bringer.look()
    newer = there.pointer.read_bytes()
    scene.pointer.write_bytes(older)
    for _ in range(3):
        bringer.look()
    assert there.pointer.read_bytes() == newer
    assert there.refused == ["promotion"]
    assert "serial 1 is lower than 2" in there.told[0].reason
    assert not bringer.settled
    fresh = there.bringer(server.url)  # a restart forgets nothing: the pointer here says what was accepted
    fresh.look()
    assert there.pointer.read_bytes() == newer


def test_an_older_pointer_is_refused_also_after_the_one_here_was_deleted(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.point()
    older = scene.pointer.read_bytes()
    bringer = there.bringer(server.url)
    another_model(scene, 2)
    bringer.look()
    there.pointer.unlink()
    scene.pointer.write_bytes(older)
    bringer.look()
    assert not there.pointer.exists()
    assert there.refused == ["promotion"]


def test_the_pointer_of_another_node_is_refused(scene: Scene, server: Server, there: Elsewhere) -> None:
    scene.point(scene.promotion(ion="patient_tests", node="other"))
    there.bringer(server.url).look()
    assert (there.pointer.exists(), there.refused) == (False, ["node"])


@pytest.mark.parametrize("by", ["nobody", "flipped"])
def test_a_pointer_that_no_key_of_governance_signed_is_refused(
    scene: Scene, server: Server, there: Elsewhere, by: str
) -> None:
    promotion = scene.point(signer=CARL if by == "nobody" else None)
    if by == "flipped":
        envelope = bytearray(sign_statement(promotion, scene.signer))
        envelope[60] ^= 1
        scene.pointer.write_bytes(bytes(envelope))
    there.bringer(server.url).look()
    assert (there.pointer.exists(), there.refused) == (False, ["pointer"])


@pytest.mark.parametrize("step", ["decision", "provenance", "manifest", "artifact"])
def test_other_bytes_than_the_digest_names_are_stored_nowhere_and_the_old_model_serves_on(
    scene: Scene, server: Server, there: Elsewhere, step: str
) -> None:
    scene.point()
    bringer, gate = there.bringer(server.url), there.gate(lambda: NOW)
    bringer.look()
    before = there.pointer.read_bytes()
    another_model(scene, 2)
    decision = scene.decision()
    digest = {
        "decision": scene.promotion().decision,
        "provenance": decision.evidence[-1].digest,
        "manifest": decision.model,
        "artifact": model_file(scene),
    }[step]
    right = scene.artifacts.path(str(digest)).read_bytes()
    server.lies[str(digest)] = right.replace(b"0", b"1", 1)
    bringer.look()
    bringer.look()  # refused again, and told no second time
    assert there.pointer.read_bytes() == before
    assert there.refused == [step]
    assert "other bytes" in there.told[0].reason
    held = [path.read_bytes() for path in there.home.artifacts.rglob("*") if path.is_file()]
    assert right.replace(b"0", b"1", 1) not in held
    serving = gate.admit()
    assert isinstance(serving, Admitted)
    assert serving.serial == 1
    del server.lies[str(digest)]  # mended: nobody has to promote again
    bringer.look()
    assert bringer.settled
    mended = gate.admit()
    assert isinstance(mended, Admitted)
    assert mended.serial == 2


def test_an_artifact_without_end_is_cut_off_at_the_size_its_manifest_says(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            while sent < 1 << 30:
                sent += handler.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    scene.point()
    server.lies[model_file(scene)] = endless
    there.bringer(server.url).look()
    assert (there.pointer.exists(), there.refused) == (False, ["artifact"])
    assert "more than" in there.told[0].reason
    assert sent < 1 << 28
    assert not [path for path in there.home.artifacts.rglob(".*") if path.is_file()]


def test_a_connection_cut_in_the_middle_of_an_artifact_accuses_nobody_and_is_tried_again(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.point()
    content = scene.artifacts.get(model_file(scene))

    def cut(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, content[:100], length=len(content))
        handler.close_connection = True

    server.lies[model_file(scene)] = cut
    bringer = there.bringer(server.url)
    with pytest.raises(IonError, match="bytes are missing") as raised:
        bringer.look()
    assert raised.value.code == "receiver-unreachable"
    assert there.told == []
    server.lies.clear()
    bringer.look()
    assert bringer.settled


def test_a_trust_document_under_another_root_is_refused_and_so_is_all_that_rests_on_it(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.trust_in(root=CARL)
    scene.point()
    there.bringer(server.url).look()
    assert (there.home.trust_document.exists(), there.pointer.exists()) == (False, False)
    assert there.refused == ["trust", "trust"]


def test_an_older_trust_document_is_refused_and_a_newer_one_is_taken(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    scene.trust_in(version=3)
    scene.point()
    bringer = there.bringer(server.url)
    bringer.look()
    third = there.home.trust_document.read_bytes()
    scene.trust_in(version=2)
    bringer.look()
    assert there.home.trust_document.read_bytes() == third
    assert (there.refused, "version 2" in there.told[0].reason) == (["trust"], True)
    scene.trust_in(version=4)
    bringer.look()
    assert there.home.trust_document.read_bytes() == scene.trust.read_bytes()
    assert bringer.settled


def test_without_a_root_key_pinned_here_nothing_is_believed(scene: Scene, server: Server, there: Elsewhere) -> None:
    there.home.root_public.unlink()
    scene.point()
    there.bringer(server.url).look()
    assert there.refused == ["trust", "trust"]
    assert not there.pointer.exists()
    assert not there.home.root_public.exists()


@pytest.mark.parametrize(("at_the_end", "answer"), [("stop", Halted), ("keep", Admitted)])
def test_a_pointer_that_is_frozen_serves_until_its_lease_ends_and_then_as_the_node_declares(
    scene: Scene, server: Server, there: Elsewhere, at_the_end: str, answer: type
) -> None:
    scene.point(scene.promotion(on_lease_end=at_the_end))
    bringer, gate = there.bringer(server.url), there.gate(lambda: scene.now)
    bringer.look()
    assert isinstance(gate.admit(), Admitted)
    another_model(scene, 2)  # which the server keeps to itself
    frozen = Standing(NODE, there.pointer.read_bytes(), server.standing().trust, None)
    server.lies["/pointer"] = frozen.to_bytes()
    bringer.look()
    scene.now = NOW + DAY - 1
    assert isinstance(gate.admit(), Admitted)
    scene.now = NOW + DAY + 1
    bringer.look()
    assert isinstance(gate.admit(), answer)
    assert isinstance(there.gate(lambda: NOW + DAY + 1).admit(), answer | Refused)


def test_a_revocation_is_obeyed_at_once_though_the_model_to_fall_back_to_cannot_be_brought(
    scene: Scene, server: Server, there: Elsewhere
) -> None:
    serving = scene.point()
    bringer, gate = there.bringer(server.url), there.gate(lambda: NOW)
    bringer.look()
    assert isinstance(gate.admit(), Admitted)
    another_model(scene, 2, action="rollback", revoked=(serving.model,))
    server.lies[model_file(scene)] = b"other bytes"
    bringer.look()
    assert isinstance(halted := gate.admit(), Halted)
    assert halted.cause == "revoke"
    assert not bringer.settled
    server.lies.clear()
    bringer.look()
    assert bringer.settled
    assert isinstance(gate.admit(), Admitted)


def test_an_artifact_damaged_here_is_brought_again(scene: Scene, server: Server, there: Elsewhere) -> None:
    scene.point()
    there.bringer(server.url).look()
    file = there.home.artifacts / "sha256" / model_file(scene)[7:9] / model_file(scene)[7:]
    right = file.read_bytes()
    file.write_bytes(right[:-1])
    there.bringer(server.url).look()
    assert file.read_bytes() == right


def test_a_halt_does_not_wait_for_a_long_download(
    scene: Scene, server: Server, there: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ion.serving.fetched._LOOK_S", 0.0)
    monkeypatch.setattr("ion.agent.fetching._CHUNK", 512)
    scene.point()
    bringer = there.bringer(server.url)
    bringer.look()
    another_model(scene, 2)
    content = scene.artifacts.get(model_file(scene))

    def slow(handler: BaseHTTPRequestHandler) -> None:
        scene.halt(serial=3)
        respond(handler, content[:1024], length=len(content))
        time.sleep(60)  # no more comes

    server.lies[model_file(scene)] = slow
    bringer.look()
    assert not bringer.settled
    bringer.look()
    assert bringer.settled
    assert there.pointer.read_bytes() == scene.pointer.read_bytes()
    assert there.told == []


def test_erased_keys_are_told_to_the_writer_elsewhere(scene: Scene, server: Server, there: Elsewhere) -> None:
    scene.point()
    write_erased(erased_path(Home(scene.home)), {"key-1", "key-2"})
    news = ErasedKeys(erased_path(there.home))
    there.bringer(server.url).look()
    assert news.news() == {"key-1", "key-2"}


@pytest.mark.parametrize("lie", [b"", b"{}", b"[]", b'{"node": "a/b"}', b"\xff" * 100, b"[" * 10_000])
def test_nonsense_for_a_pointer_is_refused(server: Server, there: Elsewhere, lie: bytes) -> None:
    server.lies["/pointer"] = lie
    bringer = there.bringer(server.url)
    bringer.look()
    assert (there.refused, bringer.settled) == (["pointer"], False)


def test_a_courier_cut_off_catches_up_when_the_server_is_back_and_stops_at_once(scene: Scene, there: Elsewhere) -> None:
    scene.point()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    courier = Courier(there.home, [NODE], f"http://127.0.0.1:{port}", there.told.append, token=lambda: TOKEN)
    courier.start()
    try:
        assert not courier.wait(0.3)
        assert "does not answer" in courier.trouble
        assert not there.pointer.exists()
        with running(Server(scene), port):
            assert courier.wait(30)
            assert courier.trouble == ""
            assert isinstance(there.gate(lambda: NOW).admit(), Admitted)
            another_model(scene, 2)
            assert until(lambda: there.pointer.read_bytes() == scene.pointer.read_bytes())
            stopping = threading.Thread(target=courier.stop)  # in the middle of a long poll
            stopping.start()
            stopping.join(10)
            assert not stopping.is_alive()
    finally:
        courier.stop()
    assert there.told == []


def test_a_server_elsewhere_is_asked_over_tls_only() -> None:
    with pytest.raises(IonError) as raised:
        ServerLink("http://governance.example", lambda: TOKEN)
    assert raised.value.code == "insecure-url"


def test_a_refused_token_is_named_and_never_in_an_error(there: Elsewhere, server: Server) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, json.dumps({"error": {"message": "no such token"}}).encode(), status=401)

    server.lies["/pointer"] = refuse
    with pytest.raises(IonError, match="401: no such token") as raised:
        there.bringer(server.url).look()
    assert raised.value.code == "receiver-refused"
    assert TOKEN not in str(raised.value)


def test_a_token_comes_from_the_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ION_AGENT_TOKEN", raising=False)
    monkeypatch.delenv("ION_AGENT_TOKEN_FILE", raising=False)
    with pytest.raises(IonError, match="needs a token"):
        token_of_environment()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("ION_AGENT_TOKEN_FILE", str(tmp_path / "token"))
    assert token_of_environment() == TOKEN


def until(condition: object, seconds: float = 30.0) -> bool:
    assert callable(condition)
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True
