"""New keys for old: made first, trusted next, put in the old one's place last, so that a crash only delays it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.key_folder import make_key, public_path
from ion.evidence.keys import create_key, load_public, load_signer
from ion.evidence.trust_changes import owners, with_persons_key, with_service_key

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence.key_folder import KeyFolder
    from ion.evidence.keys import PublicKey, Signer
    from ion.evidence.trust import Trust
    from ion.evidence.trust_document import Service
    from ion.evidence.trust_signing import TrustPlace
    from ion.home import Home


def rotate_service(place: TrustPlace, root: Signer, service: Service, public: PublicKey, *, days: int | None) -> Trust:
    """Let the trust document name a new key of a service, which is kept elsewhere (a KMS, another machine).

    Raises:
        IonError: ``key-taken``, and as `TrustPlace.sign`.
    """
    return place.sign(root, partial(with_service_key, service=service, key=public, at=now_us()), days=days)


def rotate_own_service(
    home: Home, place: TrustPlace, root: Signer, service: Service, *, days: int | None
) -> tuple[PublicKey, Trust]:
    """Make a new key of a service under the deployment's ``keys/`` and trust it; the old private key is destroyed.

    Called again after a crash, it goes on where it was.

    Raises:
        IonError: ``key-elsewhere`` when the deployment signs with a key that is not a file of its own,
            and as `TrustPlace.sign`.
    """
    own = home.keys / f"{service}.pem"
    uri = {"decision": home.decision_key_uri, "ledger": home.ledger_key_uri}[service]
    if uri != f"file:{own}":
        hint = "make the new key where the old one is, and pass its public half: --key FILE"
        raise IonError("key-elsewhere", f"the {service} key is not a file of this deployment", hint)
    waiting = own.with_name(f"{service}.next.pem")
    if not waiting.exists():
        create_key(waiting)
    public = load_signer(f"file:{waiting}").public
    trust = place.read(root.public)
    if public not in [key.public for key in trust.document.services.get(service, ())]:
        trust = rotate_service(place, root, service, public, days=days)
    waiting.replace(own)
    return public, trust


def rotate_person(
    folder: KeyFolder, name: str, place: TrustPlace, root: Signer, *, passphrase: str, days: int | None
) -> tuple[PublicKey, Trust, Path]:
    """Give the person who has the key ``name`` a new one; the old files go to the folder ``old``.

    Returns:
        the new public key, the trust document, and where the old private key is now.

    Raises:
        IonError: ``unknown-key`` when the trust document names nobody with the old key, and as `TrustPlace.sign`.
    """
    private = folder.private(name)
    old = folder.public(name)
    waiting = private.parent / "next" / private.name
    if not waiting.exists():
        make_key(waiting, passphrase)
    public = load_public(public_path(waiting))
    trust = place.read(root.public)
    if all(key.public != public for _, keys in owners(trust.document) for key in keys):
        change = partial(with_persons_key, old_key_id=old.key_id, key=public, at=now_us())
        trust = place.sign(root, change, days=days)
    aside = private.parent / "old" / f"{name}.{old.key_id.removeprefix('sha256:')[:8]}.pem"
    aside.parent.mkdir(mode=0o700, exist_ok=True)
    for there, here in ((private, aside), (waiting, private)):
        there.replace(here)
        public_path(there).replace(public_path(here))
    return public, trust, aside
