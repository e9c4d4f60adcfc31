"""DSSE envelopes: signed JSON whose payload type is checked and whose bytes have one form.

Source: the DSSE protocol and envelope, version 1.0. Signing and checking are securesystemslib's; what
it leaves open (payload type, byte form, foreign signatures) is closed here. docs/spec/decision.md.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.evidence.files import MIB
from ion.evidence.parsing import Fields, parse_canonical
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

MAX_ENVELOPE = MIB
_CODE = "bad-envelope"


@dataclass(frozen=True, slots=True)
class Verified:
    """A payload signed by a trusted key; ``digest`` is that of the envelope's bytes."""

    payload: dict[str, object]
    key_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """Why an envelope is not to be believed. A value, not an exception: it is an expected answer."""

    reason: str


def sign(payload: Mapping[str, object], payload_type: str, signer: Signer) -> bytes:
    """Return the envelope of the payload's RFC 8785 form with one signature, itself in RFC 8785 form.

    Raises:
        IonError: ``not-canonical``, or ``bad-envelope`` when it would be larger than 1 MiB.
    """
    from securesystemslib.dsse import Envelope  # it loads a signer for every cloud there is

    envelope = Envelope(canonical_bytes(dict(payload)), payload_type, {})
    envelope.sign(signer.backend)
    data = canonical_bytes(envelope.to_dict())
    if len(data) > MAX_ENVELOPE:
        raise IonError(_CODE, f"the signed statement is larger than {MAX_ENVELOPE} bytes")
    return data


def verify(envelope: bytes, trust: TrustRoot, payload_type: str) -> Verified | Unverified:
    """Return the payload if one trusted key signed it as ``payload_type``, else why not.

    Every byte counts: the envelope and the payload must be in RFC 8785 form, base64 in its one
    spelling, and there must be exactly one signature, whose key id names the key that made it.
    """
    from securesystemslib.exceptions import VerificationError

    try:
        return _verify(envelope, trust, payload_type)
    except (IonError, VerificationError, ValueError) as error:
        return Unverified(error.message if isinstance(error, IonError) else "no trusted key signed it")


def unverified_payload(envelope: bytes, payload_type: str) -> dict[str, object]:
    """Return the payload without asking who signed it: for bytes that something verified names by digest.

    Raises:
        IonError: ``bad-json`` or ``bad-envelope``.
    """
    return parse_canonical(_opened(envelope, payload_type).payload, MAX_ENVELOPE, "payload")


def _verify(data: bytes, trust: TrustRoot, payload_type: str) -> Verified | Unverified:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signature  # type: ignore[attr-defined]

    opened = _opened(data, payload_type)
    key_id = opened.key_id
    checked = Envelope(opened.payload, payload_type, {key_id: Signature(key_id, opened.signature.hex())})
    accepted = checked.verify([key.verifier() for key in trust.keys], 1)
    if set(accepted) != {key_id}:
        return Unverified("no trusted key signed it")
    return Verified(parse_canonical(opened.payload, MAX_ENVELOPE, "payload"), key_id, digest_bytes(data))


@dataclass(frozen=True, slots=True)
class _Opened:
    payload: bytes
    key_id: str
    signature: bytes


def _opened(data: bytes, payload_type: str) -> _Opened:
    fields = Fields.of(parse_canonical(data, MAX_ENVELOPE, "envelope"), "envelope", _CODE)
    if fields.text("payloadType") != payload_type:
        raise IonError(_CODE, "the envelope holds another type of payload")
    payload = _base64(fields, "payload")
    signatures = fields.items("signatures")
    fields.done()
    if len(signatures) != 1:
        raise IonError(_CODE, f"the envelope has {len(signatures)} signatures, not 1")
    signed = Fields.of(signatures[0], "signature", _CODE)
    opened = _Opened(payload, signed.text("keyid"), _base64(signed, "sig"))
    signed.done()
    return opened


def _base64(fields: Fields, name: str) -> bytes:
    text = fields.text(name)
    try:
        data = b64decode(text, validate=True)
    except ValueError as error:
        raise fields.fail(f"field {name!r} is not base64") from error
    if b64encode(data).decode() != text:  # spare bits of the last digit must be zero
        raise fields.fail(f"field {name!r} is not base64 in its canonical form")
    return data
