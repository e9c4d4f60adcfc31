"""The outbox: everything is told once on each channel, retried with pauses, and given up after a day."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import pytest

from ion.decision.notices import KINDS, UNDELIVERED, notice_of, notices
from ion.decision.outbox import (
    FIRST_REST_US,
    GIVE_UP_US,
    LONGEST_REST_US,
    PER_ROUND,
    WINDOW,
    ChannelState,
    Declined,
    Message,
    Outbox,
    Unavailable,
)
from ion.facts import (
    AdmissionRefused,
    AlertRaised,
    ApprovalGiven,
    DecisionMade,
    Fact,
    GapNoted,
    ModelRevoked,
    NodeHalted,
    NotificationSent,
    Promoted,
    ReviewDrawn,
    RolledBack,
)
from ion.records import Recorded
from ion.store import GovernanceStore, open_store
from ion.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = "https://ion.example/ion"
SECOND = 1_000_000
MODEL = "sha256:" + "ab" * 32


@dataclass
class Told:
    """A channel that remembers what it took, and fails as it is told to."""

    name: str = "webhook"
    taken: list[Message] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failing: Exception | None = None
    unwanted: str = ""

    def send(self, message: Message) -> None:
        self.asked.append(message.text)
        if self.failing is not None:
            raise self.failing
        if self.unwanted and self.unwanted in message.text:
            raise Declined("answered 400")
        self.taken.append(message)

    @property
    def texts(self) -> list[str]:
        return [message.text.rpartition(": ")[2] for message in self.taken]


@pytest.fixture
def store(store_url: str) -> Iterator[GovernanceStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def outbox(store: GovernanceStore, channel: Told, clock: FakeClock) -> Outbox:
    return Outbox(store, channel, PAGE, clock=clock, jitter=lambda: 1.0)


def alert(store: GovernanceStore, message: str) -> None:
    with store.command() as command:
        command.record(AlertRaised(scope="ward/scores", alert="planted", message=message))


def sent(store: GovernanceStore) -> list[NotificationSent]:
    return [record.fact for record in store.find(NotificationSent)]


def kept(state: ChannelState) -> ChannelState:
    """Return the state as the next process reads it."""
    return ChannelState.from_json(json.loads(json.dumps(asdict(state))))


def test_what_happens_is_told_once_and_a_restart_tells_nothing_again(store: GovernanceStore, clock: FakeClock) -> None:
    channel, state = Told(), ChannelState(0)
    alert(store, "one")
    outbox(store, channel, clock).round(state)
    alert(store, "two")
    before = kept(state)
    outbox(store, channel, clock).round(state)
    outbox(store, channel, clock).round(kept(state))
    outbox(store, channel, clock).round(before)  # the process died before it could keep how far it was
    outbox(store, channel, clock).round(ChannelState(0))
    assert channel.texts == ["one", "two"]
    assert [(fact.channel, fact.attempts, fact.delivered) for fact in sent(store)] == [("webhook", 1, True)] * 2
    assert len({message.delivery for message in channel.taken}) == 2


def test_a_crash_after_sending_tells_it_again_under_the_same_delivery_id(
    store: GovernanceStore, clock: FakeClock
) -> None:
    channel, state = Told(), ChannelState(0)
    alert(store, "one")
    box = outbox(store, channel, clock)
    with pytest.MonkeyPatch.context() as crash:
        crash.setattr(Outbox, "_record", lambda *_args, **_more: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            box.round(state)
    box.round(ChannelState(0))
    first, second = channel.taken
    assert first.delivery == second.delivery
    assert len(sent(store)) == 1


def test_two_senders_at_once_record_one_delivery(store: GovernanceStore, clock: FakeClock) -> None:
    alert(store, "one")
    rival = outbox(store, Told(), clock)

    class Slow(Told):
        def send(self, message: Message) -> None:
            super().send(message)
            rival.round(ChannelState(0))

    outbox(store, Slow(), clock).round(ChannelState(0))
    assert len(sent(store)) == 1


def test_rests_double_up_to_a_quarter_of_an_hour_and_end_with_a_delivery(
    store: GovernanceStore, clock: FakeClock
) -> None:
    channel, state = Told(failing=Unavailable("answered 503")), ChannelState(0)
    alert(store, "one")
    rests: list[int] = []
    for _ in range(10):
        assert outbox(store, channel, clock).round(state).problem == "not available: answered 503"
        state = kept(state)
        rests.append(state.rest_until - clock())
        asked = len(channel.asked)
        clock.us = state.rest_until - 1
        outbox(store, channel, clock).round(state)
        assert len(channel.asked) == asked, "it did not rest"
        clock.us = state.rest_until
    assert rests[:4] == [FIRST_REST_US * factor for factor in (1, 2, 4, 8)]
    assert max(rests) == rests[-1] == LONGEST_REST_US
    channel.failing = None
    outbox(store, channel, clock).round(state)
    assert channel.texts == ["one"]
    assert [(fact.attempts, fact.delivered) for fact in sent(store)] == [(11, True)]
    assert (state.failures, state.rest_until, state.failing_since, state.tried) == (0, 0, 0, {})


def test_a_dead_channel_is_asked_once_per_rest_however_much_waits(store: GovernanceStore, clock: FakeClock) -> None:
    channel, state = Told(failing=Unavailable("ConnectionError")), ChannelState(0)
    for number in range(10):
        alert(store, str(number))
    done = outbox(store, channel, clock).round(state)
    assert len(channel.asked) == 1
    assert done.waiting == 10
    channel.failing = None
    clock.us = state.rest_until
    outbox(store, channel, clock).round(state)
    assert channel.texts == [str(number) for number in range(10)]


def test_the_channel_may_ask_for_a_longer_rest(store: GovernanceStore, clock: FakeClock) -> None:
    state = ChannelState(0)
    alert(store, "one")
    outbox(store, Told(failing=Unavailable("answered 429", 60 * SECOND)), clock).round(state)
    assert state.rest_until - clock() == 60 * SECOND
    clock.us = state.rest_until
    outbox(store, Told(failing=Unavailable("answered 429", GIVE_UP_US)), clock).round(state)
    assert state.rest_until - clock() == LONGEST_REST_US


def test_a_declined_message_holds_up_no_other_and_is_given_up_after_a_day(
    store: GovernanceStore, clock: FakeClock
) -> None:
    channel, state = Told(unwanted="bad"), ChannelState(0)
    alert(store, "bad")
    alert(store, "good")
    outbox(store, channel, clock).round(state)
    assert channel.texts == ["good"]
    clock.us += GIVE_UP_US
    outbox(store, channel, clock).round(state)
    assert len(channel.asked) == 3, "it was not tried again"
    clock.us += 1
    outbox(store, channel, clock).round(state)
    gone = [fact for fact in sent(store) if not fact.delivered]
    assert [(fact.attempts, fact.event) for fact in gone] == [(2, "alert")]
    assert [record.fact.about for record in store.find(AlertRaised) if record.fact.alert == UNDELIVERED] == ["webhook"]
    assert state.tried == {}


def test_a_channel_dead_for_a_day_gives_up_what_is_a_day_old_with_one_alert(
    store: GovernanceStore, clock: FakeClock
) -> None:
    from ion.clock import now_us

    clock.us = now_us()
    channel, state = Told(failing=Unavailable("ConnectionError")), ChannelState(0)
    for number in range(3):
        alert(store, str(number))
    outbox(store, channel, clock).round(state)
    clock.us += GIVE_UP_US - 60 * SECOND
    assert outbox(store, channel, clock).round(state).given_up == 0
    clock.us += 120 * SECOND
    assert outbox(store, channel, clock).round(state).given_up == 3
    alerts = [record.fact for record in store.find(AlertRaised) if record.fact.alert == UNDELIVERED]
    assert len(alerts) == 1
    assert [fact.delivered for fact in sent(store)] == [False] * 3
    channel.failing, other = None, Told("email")
    outbox(store, channel, clock).round(ChannelState(0))
    outbox(store, other, clock).round(ChannelState(0))
    assert channel.taken == [], "a channel is told of its own failure, which may never end"
    assert len(other.taken) == 4
    assert "took nothing for a day" in other.taken[-1].text


def test_a_machine_that_was_off_for_days_still_tells(store: GovernanceStore, clock: FakeClock) -> None:
    from ion.clock import now_us

    channel, state = Told(), ChannelState(0)
    alert(store, "one")
    clock.us = now_us() + 3 * GIVE_UP_US
    channel.failing = Unavailable("the network is not up yet")
    outbox(store, channel, clock).round(state)
    clock.us, channel.failing = state.rest_until, None
    outbox(store, channel, clock).round(state)
    assert channel.texts == ["one"]


def test_channels_do_not_count_for_each_other(store: GovernanceStore, clock: FakeClock) -> None:
    webhook, email = Told(), Told("email")
    alert(store, "one")
    outbox(store, webhook, clock).round(ChannelState(0))
    outbox(store, email, clock).round(ChannelState(0))
    assert webhook.texts == email.texts == ["one"]
    assert webhook.taken[0].delivery != email.taken[0].delivery
    assert sorted(fact.channel for fact in sent(store)) == ["email", "webhook"]


def test_a_burst_is_told_in_portions_in_order_and_completely(store: GovernanceStore, clock: FakeClock) -> None:
    channel, state = Told(), ChannelState(0)
    with store.command() as command:
        for number in range(2 * WINDOW + 7):
            command.record(AlertRaised(scope="ward/scores", alert="planted", message=str(number)))
    rounds = 0
    while len(channel.taken) < 2 * WINDOW + 7:
        done = outbox(store, channel, clock).round(state)
        assert done.delivered <= PER_ROUND
        state = kept(state)
        rounds += 1
        assert rounds < 20
    assert channel.texts == [str(number) for number in range(2 * WINDOW + 7)]


def test_what_nobody_is_told_of_is_passed_over(store: GovernanceStore, clock: FakeClock) -> None:
    channel, state = Told(), ChannelState(0)
    with store.command() as command:
        command.record(GapNoted(scope="x", what="rows", count=1, reason="none"))
    outbox(store, channel, clock).round(state)
    assert channel.taken == []
    assert state.after == store.head().position


def test_a_clock_that_was_set_back_ends_no_rest_never(store: GovernanceStore, clock: FakeClock) -> None:
    channel, state = Told(), ChannelState(0, rest_until=clock() + 400 * 86_400 * SECOND)
    alert(store, "one")
    outbox(store, channel, clock).round(state)
    assert channel.texts == ["one"]


def recorded(fact: Fact) -> Recorded[Fact]:
    return Recorded(7, "fact-7", "agent", 1, fact)


DECISION = {
    "decision": "d", "node": "ward/scores", "model": MODEL, "run": "r", "policy_set": "careful", "policy_digest": "",
    "evidence": {}, "expires": 0, "envelope": "", "envelope_digest": "",
}  # fmt: skip
WHO = {"cause": "c", "node": "ward/scores", "serial": 3, "reason": "it is wrong", "by": "anna", "envelope": ""}
CASES: list[tuple[Fact, str, str, str]] = [
    (
        DecisionMade(verdict="defer", reasons=[{"verdict": "defer", "message": "one more approver"}], **DECISION),  # type: ignore[arg-type]
        "pending",
        "Model abababababab waits for people before it may serve ward/scores: one more approver",
        f"/models/{MODEL}",
    ),
    (
        DecisionMade(verdict="reject", reasons=[{"verdict": "reject", "message": "too weak"}], **DECISION),  # type: ignore[arg-type]
        "decided",
        "careful rejected model abababababab for ward/scores: too weak",
        f"/models/{MODEL}",
    ),
    (
        DecisionMade(verdict="approve", reasons=[{"verdict": "approve", "message": "fine"}], **DECISION),  # type: ignore[arg-type]
        "decided",
        "careful approved model abababababab for ward/scores",
        f"/models/{MODEL}",
    ),
    (
        Promoted(cause="c", node="ward/scores", model=MODEL, run="r", decision="d", serial=3, previous="", envelope=""),
        "decided",
        "ward/scores serves model abababababab from now on (serial 3)",
        f"/models/{MODEL}",
    ),
    (
        RolledBack(model=MODEL, run="r", decision="d", previous="", **WHO),  # type: ignore[arg-type]
        "decided",
        "ward/scores went back to model abababababab, by anna: it is wrong",
        f"/models/{MODEL}",
    ),
    (NodeHalted(**WHO), "decided", "ward/scores was halted by anna: it is wrong", "/ions/ward"),  # type: ignore[arg-type]
    (
        ModelRevoked(model=MODEL, **WHO),  # type: ignore[arg-type]
        "decided",
        "Model abababababab was revoked for ward/scores by anna: it is wrong",
        f"/models/{MODEL}",
    ),
    (
        ApprovalGiven(
            approval="a", node="ward/scores", model=MODEL, person="anna", verdict="withdraw", reason="a doubt",
            issued=1, until=2, key="k", envelope="", envelope_digest="",
        ),
        "decided",
        "anna withdrew the approval of model abababababab for ward/scores: a doubt",
        f"/models/{MODEL}",
    ),
    (
        ReviewDrawn(decision="d", node="ward/scores", model=MODEL),
        "pending",
        "The automatic approval of model abababababab for ward/scores waits for a person's review",
        f"/models/{MODEL}",
    ),
    (
        AdmissionRefused(run="r", node="ward/scores", step="decision", reason="expired", pointer_digest="p"),
        "refused",
        "The gate of ward/scores refused what its pointer names, at step decision: expired",
        "/ions/ward",
    ),
    (
        AlertRaised(scope=MODEL, alert="mirror-bytes-differ", message="other bytes"),
        "alert",
        "Alert mirror-bytes-differ on abababababab: other bytes",
        f"/models/{MODEL}",
    ),
    (
        AlertRaised(scope="ward/scores", alert="input-drift", message="radius"),
        "drifted",
        "Alert input-drift on ward/scores: radius",
        "/ions/ward",
    ),
    (AlertRaised(scope="agent-1", alert="x", message="y"), "alert", "Alert x on agent-1: y", "/"),
]  # fmt: skip


@pytest.mark.parametrize(("fact", "event", "text", "place"), CASES)
def test_each_fact_is_told_in_a_sentence_with_a_link(fact: Fact, event: str, text: str, place: str) -> None:
    notice = notice_of(recorded(fact))
    assert (notice.event, notice.text, notice.place) == (event, text, place)


def test_every_kind_that_is_told_has_a_sentence() -> None:
    assert {type(fact) for fact, *_ in CASES} == set(KINDS)


def test_no_fact_can_change_how_a_message_is_shown() -> None:
    hostile = "a\r\nBcc: all@example.invalid\x1b[2J\u202etxt.exe\u0000" + "x" * 5000
    notice = notice_of(recorded(AlertRaised(scope="../..", alert="x\ny", message=hostile)))
    assert notice.text.isprintable()
    assert len(notice.text) == 600
    assert notice.place == "/"


def test_notices_of_several_kinds_come_in_store_order(store: GovernanceStore) -> None:
    with store.command() as command:
        for number in range(4):
            command.record(AlertRaised(scope="s", alert="a", message=str(number)))
            command.record(AdmissionRefused(run="r", node="w/s", step="x", reason=str(number), pointer_digest=""))
    assert [notice.text[-1] for notice in notices(store, 0, 5)] == ["0", "0", "1", "1", "2"]
