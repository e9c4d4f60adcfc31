"""The frame of an in-toto Statement (v1): one subject, a predicate type, a predicate."""

from __future__ import annotations

import re
from datetime import datetime

from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.parsing import Fields

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
BAD_STATEMENT = "bad-statement"
_STAMP = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\.(\d{6})Z\Z", re.ASCII)


def check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Raise ``bad-statement`` unless ``holds``."""
    if not holds:
        raise IonError(BAD_STATEMENT, f"statement: {message}")


def statement_form(name: str, subject: str, predicate_type: str, predicate: dict[str, object]) -> dict[str, object]:
    """Return the Statement about the artifact ``subject`` (a sha256 digest), called ``name``."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": digest_set(subject)}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def predicate_of(payload: dict[str, object], predicate_type: str) -> Fields:
    """Return a reader of the predicate, having checked both types.

    Raises:
        IonError: ``bad-statement``.
    """
    fields = Fields.of(payload, "statement", BAD_STATEMENT)
    fields.literal("_type", STATEMENT_TYPE)
    fields.literal("predicateType", predicate_type)
    return fields.inner("predicate")


def subject_of(payload: dict[str, object]) -> str:
    """Return the digest of the only subject.

    Raises:
        IonError: ``bad-statement``.
    """
    fields = Fields.of(payload, "statement", BAD_STATEMENT)
    subjects = fields.items("subject")
    check(len(subjects) == 1, f"{len(subjects)} subjects, not 1")
    return from_digest_set(Fields.of(subjects[0], "subject", BAD_STATEMENT))


def digest_set(digest: str) -> dict[str, str]:
    """Return in-toto's form of ``sha256:<hex>``."""
    return {"sha256": digest.removeprefix("sha256:")}


def from_digest_set(fields: Fields) -> str:
    """Return ``sha256:<hex>`` from the field ``digest``.

    Raises:
        IonError: ``bad-statement``.
    """
    return "sha256:" + fields.inner("digest").text("sha256")


def from_rfc3339(text: str) -> int:
    """Return microseconds UTC from what `ion.clock.rfc3339` wrote.

    Raises:
        IonError: ``bad-statement``.
    """
    match = _STAMP.match(text)
    check(match is not None, "a time is not RFC 3339 in UTC with microseconds")
    assert match is not None  # noqa: S101 - for the type checker
    try:
        seconds = int(datetime.fromisoformat(match[1] + "+00:00").timestamp())
    except ValueError as error:
        raise IonError(BAD_STATEMENT, "statement: a time is not a date") from error
    us = seconds * 1_000_000 + int(match[2])
    check(rfc3339(us) == text, "a time is not in its one form")
    return us
