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
from ion.evidence.files import write_atomic, write_new
from ion.evidence.keys import create_key, load_signer, write_public
from ion.evidence.trust import Trust, TrustDocument, TrustedKey, load_trust, sign_trust
from ion.evidence.trust_root import Window

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home

TRUST_US = 3650 * 86_400_000_000
"""How long a first trust document holds. Whoever keeps the root offline signs shorter ones."""


def founded_trust(home: Home) -> Trust:
    """Return the trust of a deployment; where there is none at all, found it.

    Raises:
        IonError: as `ion.evidence.trust.load_trust`; ``trust-missing`` too when keys or a root are there
            without a document: what was trusted once is not silently replaced.
    """
    home.make()
    if not home.trust_document.exists():
        if home.root_public.exists():
            hint = "restore trust/trust.json, or have the root sign it again: `ion trust init`"
            raise IonError("trust-missing", "trust/trust.json is gone, while the root's public key is there", hint)
        home.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (home.keys / ".founding").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # closing releases it
            if not home.trust_document.exists():
                _found(home)
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


def _found(home: Home) -> None:
    """Make what is missing; keys that an interrupted founding left are used, nobody trusts them yet."""
    now = now_us()
    window = Window(since=now - 60_000_000)
    root = home.keys / "root.pem"
    if not root.exists():
        create_key(root)
    signer = load_signer(f"file:{root}")
    (home.keys / "model.pem").unlink(missing_ok=True)
    document = TrustDocument(
        version=1,
        issued=now,
        expires=now + TRUST_US,
        services={
            "decision": _service_key(home.decision_key_uri, home.keys / "decision.pem", window),
            "ledger": _service_key(home.ledger_key_uri, home.keys / "ledger.pem", window),
        },
        models=(create_model_key(home.keys / "model.pem"),),
    )
    write_public(home.root_public, signer.public)
    write_atomic(home.trust_document, sign_trust(document, signer))


def _service_key(uri: str, own: Path, window: Window) -> tuple[TrustedKey, ...]:
    """Return the key a URI names; one of this home's own is made when it is not there yet."""
    if uri == f"file:{own}" and not own.exists():
        create_key(own)
    return (TrustedKey(load_signer(uri).public, window),)
