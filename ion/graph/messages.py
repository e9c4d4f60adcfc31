"""The messages on a model's way to serving: both ends are facts, and a missing end is a named hole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.decision.promotion import promotion_message
from ion.facts import MessageReceived, MessageSent

if TYPE_CHECKING:
    from ion.graph.deciding import Admission
    from ion.graph.inquiry import Answer, Inquiry
    from ion.graph.serving_epoch import Serving


def message_answers(inquiry: Inquiry, serving: Serving, admission: Admission) -> list[Answer]:
    """Return the candidate's message to the policy node and the promotion's to the serving node."""
    answers: list[Answer] = []
    if admission.decision is not None:
        decision = admission.decision.fact
        sent = [
            r.fact.message
            for r in inquiry.find(MessageSent, decision.run)
            if r.fact.message_kind == "model" and r.fact.subject == decision.model
        ]
        if not sent:
            inquiry.hole("message", decision.run, "no fact says that training sent the model to a policy")
        answers += [_message(inquiry, message, decision.decision) for message in sent]
    if admission.promoted is not None:
        promoted = admission.promoted.fact
        answers.append(_message(inquiry, promotion_message(promoted.cause, promoted.node), serving.run))
    return answers


def _message(inquiry: Inquiry, message: str, receiving_run: str) -> Answer:
    answer: Answer = {"message": message}
    inquiry.concerns(message)
    sent = inquiry.newest(MessageSent, message)
    if sent is None:
        inquiry.hole("message", message, "it was received, or should have been, but no fact says who sent it")
    else:
        answer |= {
            "kind": sent.fact.message_kind,
            "sender": sent.fact.sender,
            "receiver": sent.fact.receiver,
            "subject": sent.fact.subject,
            "sent_by": sent.fact.run,
            "sent": rfc3339(sent.us),
        }
    received = [r for r in inquiry.find(MessageReceived, message) if r.fact.run == receiving_run]
    if received:
        answer |= {"received": rfc3339(received[0].us), "received_by": receiving_run}
    else:
        kind = sent.fact.message_kind if sent else "unknown"
        answer["received"] = None
        inquiry.hole("message", message, f"no fact says that run {receiving_run} received this {kind} message")
    return answer
