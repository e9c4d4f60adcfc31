"""Which automatic approvals a person looks at later: a draw that nobody can foresee and everybody can repeat."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ion.facts import DecisionMade

_OUTCOMES = 1 << 64


def drawn_for_review(decision: DecisionMade, share: float) -> bool:
    """Say whether an automatic approval is drawn, which a ``share`` (0 to 1) of them is.

    The lot is HMAC-SHA256 of the decision's id under the decision's signature: without the decision key it
    is unknown until the decision is signed, with the signed decision it is always the same.
    """
    if decision.verdict != "approve" or not decision.automatic:
        return False
    signature = b64decode(json.loads(decision.envelope)["signatures"][0]["sig"])
    lot = hmac.digest(signature, f"ion-review/1 {decision.decision}".encode(), "sha256")
    return int.from_bytes(lot[:8], "big") < share * _OUTCOMES
