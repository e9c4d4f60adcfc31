"""The first trust of a deployment: root, decision, ledger and model key, and the document that names them.

On one machine with one user all keys lie side by side; docs/how-to/separate-hands.md says how to part them.
"""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ion.clock import now_us
from ion.errors import IonError
from ion.evidence.files import write_new
from ion.evidence.keys import Signer, create_key, load_signer, write_public
from ion.evidence.trust import Trust, TrustDocument, TrustedKey, load_trust
from ion.evidence.trust_changes import CLOCKS_US
from ion.evidence.trust_root import Window
from ion.evidence.trust_signing import DAY_US, TRUST_DAYS, TrustPlace, believed

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home


def founded_trust(home: Home, *, root: Signer | None = None, days: int = TRUST_DAYS) -> Trust:
    """Return the trust of a deployment; where there is none at all, found it.

    Args:
        home: the deployment.
        root: signs the first document; by default a key that is made here, ``keys/root.pem``.
        days: how long the first document holds.

    Raises:
        IonError: as `ion.evidence.trust.load_trust`; ``trust-missing`` too when a root is there
            without a document: what was trusted once is not silently replaced.
    """
    if not (home.trust_document.exists() and home.root_public.exists()):
        home.make()
        home.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (home.keys / ".founding").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # closing releases it
            _found_or_finish(home, root, days)
    return load_trust(home)


def create_model_key(path: Path) -> str:
    """Make an EC P-256 key for model signatures (PKCS8 PEM, 0600), and return its public half as PEM.

    Raises:
        IonError: ``key-exists``.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(path, pem, mode=0o600)
    except FileExistsError as error:
        raise IonError("key-exists", f"there is a key at {path}") from error
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def _found_or_finish(home: Home, root: Signer | None, days: int) -> None:
    own = home.keys / "root.pem"
    place = TrustPlace.of(home)
    if not home.trust_document.exists():
        if home.root_public.exists() and not place.pinned:
            hint = "restore trust/trust.json from a backup, or take a newer one: `ion trust install`"
            raise IonError("trust-missing", "trust/trust.json is gone, while the root's public key is there", hint)
        _found(home, place, root, days)
    elif not home.root_public.exists() and not place.pinned and own.exists():
        # Founding was interrupted before its last step. Nothing is trusted anew: the document must be under this key.
        public = load_signer(f"file:{own}").public
        believed(home.trust_document.read_bytes(), public)
        write_public(home.root_public, public)


def _found(home: Home, place: TrustPlace, root: Signer | None, days: int) -> None:
    """Make what is missing; keys that an interrupted founding left are used, nobody trusts them yet."""
    own = home.keys / "root.pem"
    if root is None and not own.exists():
        create_key(own)
    now = now_us()
    window = Window(since=now - CLOCKS_US)
    (home.keys / "model.pem").unlink(missing_ok=True)
    document = TrustDocument(
        version=1,
        issued=now,
        expires=now + days * DAY_US,
        services={
            "decision": _service_key(home.decision_key_uri, home.keys / "decision.pem", window),
            "ledger": _service_key(home.ledger_key_uri, home.keys / "ledger.pem", window),
        },
        models=(create_model_key(home.keys / "model.pem"),),
    )
    place.found(document, root or load_signer(f"file:{own}"))


def _service_key(uri: str, own: Path, window: Window) -> tuple[TrustedKey, ...]:
    """Return the key a URI names; one of this home's own is made when it is not there yet."""
    if uri == f"file:{own}" and not own.exists():
        create_key(own)
    return (TrustedKey(load_signer(uri).public, window),)
