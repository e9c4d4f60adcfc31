"""What a governance server says of one node: all that its serving process has to know of. docs/spec/bringing.md."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ion.canonical import canonical_bytes, digest_bytes
from ion.errors import IonError
from ion.evidence.parsing import Fields

_CODE = "bad-standing"


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands for a node.

    Args:
        node: ``ion/node``.
        pointer: its pointer, byte for byte; None before the first promotion.
        trust: digest of the trust document; None where there is none.
        erased: digest of the list of erased capture keys; None where nothing was erased of late.
    """

    node: str
    pointer: bytes | None
    trust: str | None
    erased: str | None

    @property
    def tag(self) -> str:
        """The entity tag (RFC 9110) of this answer: another one when anything in it is another."""
        return f'"{digest_bytes(self.to_bytes()).removeprefix("sha256:")}"'

    def to_bytes(self) -> bytes:
        """Return the JSON form, in which the pointer is a text.

        Raises:
            IonError: ``bad-standing`` for a pointer that is no text.
        """
        try:
            pointer = None if self.pointer is None else self.pointer.decode()
        except UnicodeDecodeError as error:
            raise IonError(_CODE, "the pointer is no text") from error
        return canonical_bytes({"erased": self.erased, "node": self.node, "pointer": pointer, "trust": self.trust})

    @classmethod
    def parse(cls, data: bytes) -> Standing:
        """Parse what `to_bytes` made.

        Raises:
            IonError: ``bad-standing``.
        """
        try:
            fields = Fields.of(json.loads(data), "standing", _CODE)
        except (ValueError, RecursionError) as error:
            raise IonError(_CODE, "the answer is not JSON") from error
        pointer = None if fields.take("pointer") is None else fields.text("pointer").encode("utf-8", "replace")
        standing = cls(fields.text("node"), pointer, fields.optional_digest("trust"), fields.optional_digest("erased"))
        fields.done()
        return standing
