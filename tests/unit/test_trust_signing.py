"""The trust document as a file: founded once, changed a version at a time, never back, by its root only."""

from __future__ import annotations

import stat
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence import create_key, founded_trust, load_public, load_signer, load_trust, write_public
from ion.evidence import founding as founding_module
from ion.evidence.key_folder import KeyFolder, file_uri, make_key
from ion.evidence.rotation import rotate_own_service, rotate_person, rotate_service
from ion.evidence.trust import TrustDocument, trust_file
from ion.evidence.trust_changes import with_person, with_requirement
from ion.evidence.trust_signing import DAY_US, TrustPlace
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence import Signer

NODE = "patient_tests/predictions"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ION_TRUST_ROOT", "ION_DECISION_KEY", "ION_LEDGER_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = Home(tmp_path / ".ion")
    founded_trust(made)
    return made


def root_of(home: Home) -> Signer:
    return load_signer(file_uri(home.keys / "root.pem"))


def new_signer(path: Path) -> Signer:
    create_key(path)
    return load_signer(file_uri(path))


def failure(make: Callable[[], object]) -> str:
    with pytest.raises(IonError) as error:
        make()
    return error.value.code


def asks(quorum: int) -> Callable[[TrustDocument], TrustDocument]:
    return partial(with_requirement, node=NODE, role="approver", quorum=quorum)


# Founding ---------------------------------------------------------------------------------------------


def test_trust_is_founded_once(home: Home) -> None:
    before = home.trust_document.read_bytes()
    assert founded_trust(home).digest == load_trust(home).digest
    assert home.trust_document.read_bytes() == before
    for name in ("root", "decision", "ledger", "model"):
        assert stat.S_IMODE((home.keys / f"{name}.pem").stat().st_mode) == 0o600


def test_a_lost_document_is_not_founded_anew(home: Home) -> None:
    home.trust_document.unlink()
    assert failure(lambda: founded_trust(home)) == "trust-missing"
    assert not home.trust_document.exists()


@pytest.mark.parametrize("step", ["create_model_key", "write_public"])
def test_an_interrupted_founding_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    home = Home(tmp_path / ".ion")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(founding_module, step, crash)
        patch.setattr("ion.evidence.trust_signing.write_public", crash)
        with pytest.raises(KeyboardInterrupt):
            founded_trust(home)
    assert founded_trust(home).document.version == 1
    assert load_trust(home).root("decision").keys == (load_signer(home.decision_key_uri).public,)


def test_a_root_that_went_missing_is_pinned_again_only_from_the_key_the_document_is_under(
    home: Home, tmp_path: Path
) -> None:
    home.root_public.unlink()
    founded_trust(home)
    assert load_public(home.root_public) == root_of(home).public
    home.root_public.unlink()
    (home.keys / "root.pem").unlink()
    create_key(home.keys / "root.pem")
    assert failure(lambda: founded_trust(home)) == "trust-unverified"
    assert not home.root_public.exists()
    (home.keys / "root.pem").unlink()
    assert failure(lambda: founded_trust(home)) == "key-missing"
    assert tmp_path


def test_an_offline_root_founds_and_leaves_no_key_of_its_own(tmp_path: Path) -> None:
    home, root = Home(tmp_path / ".ion"), new_signer(tmp_path / "safe" / "root.pem")
    trust = founded_trust(home, root=root, days=30)
    assert trust.signed_by == root.public.key_id
    assert trust.document.expires - trust.document.issued == 30 * DAY_US
    assert not (home.keys / "root.pem").exists()


def test_many_first_starts_found_one_trust(tmp_path: Path) -> None:
    home, found = Home(tmp_path / ".ion"), []
    threads = [threading.Thread(target=lambda: found.append(founded_trust(home).digest)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_pinned_root_that_is_another_founds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_public(tmp_path / "pinned.pem", create_key(tmp_path / "other.pem"))
    monkeypatch.setenv("ION_TRUST_ROOT", str(tmp_path / "pinned.pem"))
    home = Home(tmp_path / ".ion")
    assert failure(lambda: founded_trust(home)) == "wrong-root"
    assert not home.trust_document.exists()
    assert founded_trust(home, root=load_signer(file_uri(tmp_path / "other.pem"))).document.version == 1


# Changing ---------------------------------------------------------------------------------------------


def test_each_change_is_a_version_higher_and_whole(home: Home) -> None:
    place, root = TrustPlace.of(home), root_of(home)
    first = load_trust(home)
    second = place.sign(root, asks(2))
    third = place.sign(root, asks(3), days=7)
    assert [second.document.version, third.document.version] == [2, 3]
    assert load_trust(home).document == third.document
    assert second.document.expires == first.document.expires
    assert third.document.expires - third.document.issued == 7 * DAY_US
    assert third.document.requirements[0].quorum == 3
    beside = sorted(path.name for path in home.trust_document.parent.iterdir())
    assert beside == ["root.pub.pem", "trust.json"]


def test_changes_at_once_each_get_a_version(home: Home) -> None:
    place, root = TrustPlace.of(home), root_of(home)
    versions: list[int] = []

    def add(number: int) -> None:
        change = partial(with_person, person=f"p{number}", name="P", at=now_us())
        versions.append(place.sign(root, change).document.version)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [2, 3, 4, 5, 6, 7]
    assert len(load_trust(home).document.people) == 6


def test_a_change_that_fails_leaves_the_document(home: Home, tmp_path: Path) -> None:
    place, before = TrustPlace.of(home), home.trust_document.read_bytes()
    assert failure(lambda: place.sign(new_signer(tmp_path / "mine.pem"), asks(2))) == "wrong-root"
    taken = partial(with_person, person="anna", name="Anna", key=load_signer(home.decision_key_uri).public, at=now_us())
    assert failure(lambda: place.sign(root_of(home), taken)) == "key-taken"
    assert home.trust_document.read_bytes() == before


def test_the_root_alone_changes_an_expired_document_and_says_for_how_long(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, later = TrustPlace.of(home), load_trust(home).document.expires + 1
    monkeypatch.setattr("ion.evidence.trust_signing.now_us", lambda: later)
    monkeypatch.setattr("ion.evidence.trust.now_us", lambda: later)
    assert failure(lambda: load_trust(home)) == "trust-unverified"
    assert failure(lambda: place.sign(root_of(home), asks(2))) == "trust-expired"
    assert place.sign(root_of(home), asks(2), days=1).document.expires == later + DAY_US
    assert load_trust(home).document.version == 2


def test_a_clock_that_went_back_does_not_issue_a_document_before_the_last(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, issued = TrustPlace.of(home), load_trust(home).document.issued
    monkeypatch.setattr("ion.evidence.trust_signing.now_us", lambda: issued - 400 * DAY_US)
    assert place.sign(root_of(home), asks(2)).document.issued == issued


def test_a_place_that_cannot_be_written_is_said(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    nowhere = TrustPlace(tmp_path / "file" / "trust.json", tmp_path / "file" / "root.pub.pem")
    assert failure(lambda: nowhere.sign(root_of(home), asks(2))) == "trust-unwritable"
    before = home.trust_document.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ion.evidence.trust_signing.write_atomic", full)
    assert failure(lambda: TrustPlace.of(home).sign(root_of(home), asks(2))) == "trust-unwritable"
    assert home.trust_document.read_bytes() == before


# Another root -----------------------------------------------------------------------------------------


def test_under_another_root_only_that_one_counts(home: Home, tmp_path: Path) -> None:
    place, new = TrustPlace.of(home), new_signer(tmp_path / "root.pem")
    file, old_file = trust_file(home), home.trust_document.read_bytes()
    before = file.read()
    changed = place.change_root(new, days=30)
    assert (changed.document.version, changed.document.services) == (2, before.document.services)
    assert file.read().signed_by == new.public.key_id
    assert failure(lambda: place.sign(root_of(home), asks(2))) == "wrong-root"
    assert place.sign(new, asks(2)).document.version == 3
    home.trust_document.write_bytes(old_file)
    assert failure(file.read) == "trust-unverified"


def test_a_pinned_root_is_not_changed_from_here(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = tmp_path / "etc" / "root.pub.pem"
    write_public(pinned, load_public(home.root_public))
    monkeypatch.setenv("ION_TRUST_ROOT", str(pinned))
    place, new = TrustPlace.of(home), new_signer(tmp_path / "root.pem")
    before = home.trust_document.read_bytes()
    assert failure(lambda: place.change_root(new, days=30)) == "wrong-root"
    assert home.trust_document.read_bytes() == before
    # Its owner pins the new one first; a document under it is then taken.
    elsewhere = TrustPlace(tmp_path / "trust.json", tmp_path / "copied.pub.pem")
    elsewhere.document.write_bytes(before)
    write_public(elsewhere.root, load_public(pinned))
    signed = elsewhere.change_root(new, days=30)
    assert failure(lambda: place.install(signed.envelope)) == "trust-unverified"
    write_public(pinned, new.public)
    assert place.install(signed.envelope).document.version == 2
    assert load_trust(home).signed_by == new.public.key_id


# Installing -------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(home: Home, tmp_path: Path) -> TrustPlace:
    """A copy on the machine where the root key is."""
    place = TrustPlace(tmp_path / "offline" / "trust.json", tmp_path / "offline" / "root.pub.pem")
    write_public(place.root, load_public(home.root_public))
    place.document.write_bytes(home.trust_document.read_bytes())
    return place


def test_a_document_signed_elsewhere_is_taken_when_it_is_newer(home: Home, elsewhere: TrustPlace) -> None:
    root, place = root_of(home), TrustPlace.of(home)
    older, newer = elsewhere.sign(root, asks(2)), elsewhere.sign(root, asks(3))
    assert place.install(newer.envelope).document.version == 3
    for old in (older, newer, load_trust(home)):
        assert failure(partial(place.install, old.envelope)) == "trust-older"
    assert load_trust(home).digest == newer.digest


def test_another_document_of_the_same_version_is_not_taken(home: Home, elsewhere: TrustPlace) -> None:
    here = TrustPlace.of(home).sign(root_of(home), asks(2))
    there = elsewhere.sign(root_of(home), asks(1))
    assert here.document.version == there.document.version
    assert failure(lambda: TrustPlace.of(home).install(there.envelope)) == "trust-older"


def test_a_document_under_another_root_an_expired_or_a_damaged_one_is_not_taken(
    home: Home, elsewhere: TrustPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, before = TrustPlace.of(home), home.trust_document.read_bytes()
    signed = elsewhere.sign(root_of(home), asks(2), days=1)
    foreign = elsewhere.change_root(new_signer(tmp_path / "thief.pem"), days=30)
    for envelope in (foreign.envelope, signed.envelope[:-1], signed.envelope.replace(b"payload", b"paylord", 1), b""):
        assert failure(partial(place.install, envelope)) == "trust-unverified"
    monkeypatch.setattr("ion.evidence.trust_signing.now_us", lambda: signed.document.expires)
    assert failure(lambda: place.install(signed.envelope)) == "trust-unverified"
    assert home.trust_document.read_bytes() == before


def test_a_first_document_is_taken_with_the_root_that_is_to_be_pinned(elsewhere: TrustPlace, tmp_path: Path) -> None:
    other = TrustPlace.of(Home(tmp_path / "other"))
    envelope = elsewhere.read().envelope
    assert failure(lambda: other.install(envelope)) == "key-missing"
    assert other.install(envelope, load_public(elsewhere.root)).document.version == 1
    assert load_public(other.root) == load_public(elsewhere.root)


# Going back -------------------------------------------------------------------------------------------


def test_a_reader_takes_no_older_document_than_it_has_seen(home: Home) -> None:
    file, old = trust_file(home), home.trust_document.read_bytes()
    TrustPlace.of(home).sign(root_of(home), asks(2))
    assert file.read().document.version == 2
    home.trust_document.write_bytes(old)
    assert failure(file.read) == "trust-older"
    assert failure(file.read) == "trust-older", "also when it is asked again"


def test_a_reader_sees_that_time_passed_while_the_file_stayed(home: Home) -> None:
    file = trust_file(home)
    expires = file.read().document.expires
    assert file.read(now=expires - 1)
    assert failure(lambda: file.read(now=expires)) == "trust-unverified"


# Rotating ---------------------------------------------------------------------------------------------


def test_a_services_new_key_takes_the_place_of_the_old_one_which_is_gone(home: Home) -> None:
    old = load_signer(home.decision_key_uri)
    public, trust = rotate_own_service(home, TrustPlace.of(home), root_of(home), "decision", days=None)
    assert load_signer(home.decision_key_uri).public == public != old.public
    root = trust.root("decision")
    assert set(root.keys) == {old.public, public}
    now = now_us()
    assert root.covers(old.public.key_id, now)
    assert not root.covers(old.public.key_id, now + 61_000_000)
    assert root.covers(public.key_id, now + 61_000_000)
    private = [path.name for path in home.keys.glob("decision*")]
    assert private == ["decision.pem"]


@pytest.mark.parametrize("step", ["trusted", "replaced"])
def test_a_rotation_goes_on_after_a_crash_and_names_one_new_key(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place, root = TrustPlace.of(home), root_of(home)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = "ion.evidence.rotation.rotate_service" if step == "trusted" else "pathlib.Path.replace"
        if step == "replaced":
            real = type(home.keys).replace
            patch.setattr(
                "pathlib.Path.replace",
                lambda self, to: crash() if self.name == "decision.next.pem" else real(self, to),
            )
        else:
            patch.setattr(target, crash)
        with pytest.raises(KeyboardInterrupt):
            rotate_own_service(home, place, root, "decision", days=None)
    waiting = load_signer(file_uri(home.keys / "decision.next.pem")).public
    public, trust = rotate_own_service(home, place, root, "decision", days=None)
    assert public == waiting
    assert len(trust.document.services["decision"]) == 2
    assert trust.document.version == 2


def test_a_key_that_is_kept_elsewhere_is_named_not_made(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, root = TrustPlace.of(home), root_of(home)
    kept = create_key(tmp_path / "kms.pem")
    monkeypatch.setenv("ION_DECISION_KEY", file_uri(tmp_path / "kms.pem"))
    assert failure(lambda: rotate_own_service(home, place, root, "decision", days=None)) == "key-elsewhere"
    assert load_trust(home).document.version == 1
    trust = rotate_service(place, root, "decision", kept, days=None)
    assert trust.root("decision").covers(kept.key_id, now_us())


def test_a_persons_new_key_takes_the_old_ones_name(home: Home, tmp_path: Path) -> None:
    folder, place, root = KeyFolder(tmp_path / "keys"), TrustPlace.of(home), root_of(home)
    old = make_key(folder.private("anna"))
    place.sign(root, partial(with_person, person="aweber", name="Anna", roles=["approver"], key=old, at=now_us()))
    public, trust, aside = rotate_person(folder, "anna", place, root, passphrase="geheim", days=None)  # noqa: S106
    assert folder.public("anna") == public == load_signer(folder.uri("anna"), lambda _: "geheim").public
    assert folder.names() == ["anna"], "the only key is still the one that signs"
    assert load_signer(file_uri(aside)).public == old
    person = trust.person_of(public.key_id)
    assert person is not None
    assert (person.id, len(person.keys)) == ("aweber", 2)
    assert not trust.people_root().covers(old.key_id, now_us() + 1_000_000)


def test_a_key_the_document_does_not_know_is_not_rotated(home: Home, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    make_key(folder.private("anna"))
    rotate = partial(rotate_person, folder, "anna", TrustPlace.of(home), root_of(home), passphrase="", days=None)
    assert failure(rotate) == "unknown-key"
