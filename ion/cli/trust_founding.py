"""How ``ion trust init`` founds trust, here or on a machine without the deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli.signing import Change
from ion.clock import now_us

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence import PublicKey, Trust
    from ion.evidence.trust_document import TrustedKey


def init_here(root_key: str, days: int) -> Trust:
    """Found the deployment's trust, or sign its document anew: under the same root for ``days``, or under another.

    Raises:
        IonError: as `founded_trust`, `TrustPlace.sign` and `TrustPlace.change_root`.
    """
    from ion.evidence.founding import founded_trust
    from ion.evidence.public_keys import load_public

    change = Change.of(None, root_key, days)
    if not change.place.document.exists():
        return founded_trust(change.home, root=change.root() if root_key else None, days=days)
    root = change.root()
    if load_public(change.place.root) == root.public:
        return change.place.sign(root, lambda document: document, days=days)
    return change.place.change_root(root, days=days)


def found_elsewhere(
    change: Change, days: int, decision_key: Path | None, ledger_key: Path | None, model_key: Path | None
) -> Trust:
    """Write a first document that names a deployment's public keys, or sign the one that is there anew.

    Raises:
        IonError: ``bad-key``, ``key-missing``, and as `TrustPlace.found` and `TrustPlace.sign`.
    """
    from ion.evidence.public_keys import load_public
    from ion.evidence.trust_document import TrustDocument
    from ion.evidence.trust_signing import DAY_US

    root = change.root()
    if change.place.document.exists():
        if load_public(change.place.root) == root.public:
            return change.place.sign(root, lambda document: document, days=days)
        return change.place.change_root(root, days=days)
    if decision_key is None or ledger_key is None:
        raise click.UsageError("a first document names the deployment's keys: --decision-key and --ledger-key")
    now = now_us()
    document = TrustDocument(
        version=1,
        issued=now,
        expires=now + days * DAY_US,
        services={"decision": _key(load_public(decision_key), now), "ledger": _key(load_public(ledger_key), now)},
        models=(_model_key(model_key),) if model_key else (),
    )
    return change.place.found(document, root)


def _key(public: PublicKey, now: int) -> tuple[TrustedKey, ...]:
    from ion.evidence.trust_changes import CLOCKS_US
    from ion.evidence.trust_document import TrustedKey
    from ion.evidence.trust_root import Window

    return (TrustedKey(public, Window(since=now - CLOCKS_US)),)


def _model_key(path: Path) -> str:
    """Return the PEM of an EC P-256 public key.

    Raises:
        IonError: ``key-missing`` or ``bad-key``.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from ion.errors import IonError
    from ion.evidence.files import read_regular
    from ion.evidence.public_keys import MAX_KEY_BYTES

    try:
        key = serialization.load_pem_public_key(read_regular(path, MAX_KEY_BYTES))
    except OSError as error:
        raise IonError("key-missing", f"cannot read the key {path}: {error.strerror}") from error
    except ValueError as error:
        raise IonError("bad-key", f"{path.name} holds no public key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IonError("bad-key", f"{path.name} is not an EC P-256 key, which model signatures need")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()
