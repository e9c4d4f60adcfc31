"""People speak, withdraw, reject, leave and come late; clocks jump: verdict and service against a simple model.

The model is a list of who said what. Whatever happens, a candidate's verdict is the one that the list gives, what
serves is stood behind by two people, and the gate admits nothing else.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ion.agent import Client
from ion.clock import now_us
from ion.decision import PolicySet
from ion.decision import reopening as clock
from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence import load_signer, load_trust, trust_file
from ion.evidence.trust_changes import with_person, with_revocation, without_person
from ion.evidence.trust_signing import TrustPlace
from ion.facts import AlertRaised, ApprovalGiven, DecisionMade
from ion.home import Home
from ion.serving import Admitted, Gate, pointer_path
from ion.store import open_store
from ion.testing import SERVING, Deployment
from policies.people import people

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.evidence import Signer
    from ion.evidence.approvals import Word
    from ion.evidence.trust_document import TrustDocument

MINUTE, DAY = 60_000_000, 86_400_000_000
MEMORY = "/dev/shm"  # noqa: S108 - a store is synced with every fact, which a disk takes its time for
TWO = PolicySet("two", (people(2),), 90, {}, "tests")
APPROVERS = ("anna", "ben", "carl", "carol")
"""Carol made the models, too. Rita is an auditor."""
KEY = st.sampled_from(["anna", "anna", "anna's other key", "ben", "ben", "ben", "carl", "carol", "rita"])
PAIR = st.sampled_from(
    [("anna", "ben"), ("ben", "carl"), ("anna", "anna's other key"), ("ben", "carol"), ("carl", "rita")]
)
CANDIDATE = st.sampled_from([0, 0, 1])
WORD = st.sampled_from(["approve", "approve", "approve", "withdraw", "reject"])
AGE = st.sampled_from([0, 0, 0, 0, 5 * MINUTE, 11 * MINUTE, -2 * MINUTE])
DAYS = st.sampled_from([1, 30, 300])


@dataclass(frozen=True)
class Prepared:
    """A deployment with two candidates and the people's keys, to be copied."""

    root: Path
    candidates: tuple[tuple[str, str], ...]
    keys: dict[str, Signer]


@cache
def prepared() -> Prepared:
    root = Path(tempfile.mkdtemp(prefix="ion-approvals-", dir=MEMORY if Path(MEMORY).is_dir() else None))
    made = Deployment.make(root / "home")
    keys = {
        "anna": made.introduce("anna"),
        "anna's other key": made.introduce("anna"),
        "ben": made.introduce("ben"),
        "carl": made.introduce("carl"),
        "carol": made.introduce("carol", aliases=("carol@ward.example",)),
        "rita": made.introduce("rita", role="auditor"),
    }
    trained = [made.train(weight=weight, submitter="Carol@Ward.example") for weight in (1.0, 2.0)]
    made.close()
    return Prepared(root / "home", tuple(each.candidate for each in trained), keys)


@dataclass(frozen=True)
class Said:
    person: str
    key: str
    word: Word
    issued: int
    until: int


@dataclass
class Candidate:
    """What the model knows of one: the words that were taken, and the verdict."""

    model: str
    said: list[Said] = field(default_factory=list)
    verdict: str = ""


class Approvals(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        template = prepared()
        self.folder = tempfile.TemporaryDirectory(dir=template.root.parent)
        home = Home(Path(shutil.copytree(template.root, Path(self.folder.name) / "home")))
        store = open_store(f"sqlite:///{home.root / 'store.db'}")
        before = Deployment.make(home.root)  # for its signer and artifacts
        before.close()
        self.deployment = Deployment(
            home,
            store,
            Client(home, "test", store),
            before.signer,
            before.artifacts,
            {candidate: number for number, candidate in enumerate(template.candidates, start=1)},
        )
        self.keys = template.keys
        self.candidates = [Candidate(model) for model, _ in template.candidates]
        self.wall = self.floor = now_us()
        self.ticks = 0
        self.gone: set[str] = set()
        self.revoked: set[str] = set()
        self.gate = Gate(
            pointer_path(home.root, SERVING),
            self.deployment.artifacts,
            trust_file(home),
            SERVING,
            home.root / "gate.json",
            clock=lambda: self.wall,
        )
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(clock, "now_us", lambda: self.wall)

    def teardown(self) -> None:
        self.patch.undo()
        self.deployment.close()
        self.folder.cleanup()

    @property
    def now(self) -> int:
        """The time people are counted at: no jump of the wall clock takes it back."""
        return max(self.wall, self.floor)

    # What happens -------------------------------------------------------------------------------------

    @initialize()
    def first_look(self) -> None:
        self.govern()

    @rule(words=st.lists(st.tuples(KEY, CANDIDATE, WORD, AGE, DAYS), min_size=1, max_size=4), govern=st.booleans())
    def speak(self, words: list[tuple[str, int, Word, int, int]], *, govern: bool) -> None:
        for key, candidate, word, age, days in words:
            self.say(key, self.candidates[candidate], word, age, days)
        if govern:
            self.govern()

    @rule(candidate=CANDIDATE, pair=PAIR, word=WORD, age=AGE, days=DAYS, jump=st.sampled_from([0, 0, 2, 400]))
    def two_speak_and_one_of_them_again(
        self, candidate: int, pair: tuple[str, str], word: Word, age: int, days: int, jump: int
    ) -> None:
        about = self.candidates[candidate]
        first, second = pair
        self.say(first, about, "approve", 0, days)
        self.govern()
        self.clock_jumps(jump)
        self.say(second, about, "approve", 0, days)
        self.govern()
        self.what_serves_is_stood_behind()
        self.say(second, about, word, age, days)
        self.govern()

    def say(self, key: str, about: Candidate, word: Word, age: int, days: int) -> None:
        person = key.partition("'")[0]
        self.ticks += 1  # no two statements of a person at the same time
        issued = self.now - age + self.ticks
        said = Said(person, key, word, issued, issued + days * DAY)
        welcome = -MINUTE <= age <= 10 * MINUTE and person not in self.gone and key not in self.revoked
        alerts = len(self.deployment.store.find(AlertRaised))
        if welcome:
            self.sign(said, about.model)
            about.said.append(said)
        else:
            with pytest.raises(IonError, match="approval-refused"):
                self.sign(said, about.model)
            assert len(self.deployment.store.find(AlertRaised)) == alerts + 1

    def sign(self, said: Said, model: str) -> None:
        signer, changes = self.keys[said.key], {"person": said.person, "issued": said.issued, "until": said.until}
        self.deployment.speak(signer, model, said.word, **changes)

    @rule(jump=st.sampled_from([1, 40, 400, -1, -40, -400]))
    def clock_jumps(self, jump: int) -> None:
        self.wall = max(self.wall + jump * DAY, 0)

    @rule(change=st.sampled_from(["anna leaves", "anna loses a key", "ben loses the key", "somebody new comes"]))
    def the_trust_document_changes(self, change: str) -> None:
        match change:
            case "anna leaves" if "anna" not in self.gone:
                self.gone.add("anna")
                self.trust(lambda document: without_person(document, "anna"))
            case "anna loses a key" if "anna" not in self.gone:
                self.lose("anna")
            case "ben loses the key":
                self.lose("ben")
            case "somebody new comes":
                self.nothing_changes()
        self.govern()

    def lose(self, key: str) -> None:
        """It turns out that somebody else had the key from the beginning."""
        if key not in self.revoked:
            self.revoked.add(key)
            key_id = self.keys[key].public.key_id
            self.trust(lambda document: with_revocation(document, key_id, 0))

    def nothing_changes(self) -> None:
        """Somebody new is no reason to decide anything again."""
        self.govern()
        before = len(self.deployment.store.find(DecisionMade))
        self.ticks += 1
        name, at = f"newcomer-{self.ticks}", self.wall
        self.trust(lambda document: with_person(document, name, name="Newcomer", roles=("approver",), at=at))
        self.govern()
        assert len(self.deployment.store.find(DecisionMade)) == before

    @rule()
    def govern(self) -> None:
        now = self.now
        if self.deployment.govern(lambda _: TWO):
            self.floor = now  # what was decided is signed with its time
        for candidate in self.candidates:
            if self.to_be_decided(candidate):
                candidate.verdict = self.people_say(candidate)

    def trust(self, change: Callable[[TrustDocument], TrustDocument]) -> None:
        home = self.deployment.home
        TrustPlace.of(home).sign(load_signer(f"file:{home.keys / 'root.pem'}"), change)
        note_trust(self.deployment.store, load_trust(home))

    # What the model says ------------------------------------------------------------------------------

    def words(self, candidate: Candidate) -> list[Said]:
        """The newest word of each approver whose signature still counts."""
        counting = [s for s in candidate.said if s.person not in self.gone and s.key not in self.revoked]
        newest = {said.person: said for said in sorted(counting, key=lambda said: said.issued)}
        return [said for said in newest.values() if said.person in APPROVERS]

    def behind(self, candidate: Candidate, at: int) -> list[Said]:
        return [s for s in self.words(candidate) if s.word == "approve" and s.person != "carol" and at < s.until]

    def against(self, candidate: Candidate) -> bool:
        return any(said.word == "reject" for said in self.words(candidate))

    def people_say(self, candidate: Candidate) -> str:
        if self.against(candidate):
            return "reject"
        return "approve" if len(self.behind(candidate, self.now)) > 1 else "defer"

    def to_be_decided(self, candidate: Candidate) -> bool:
        if candidate.verdict == "approve":  # an approval that only ran out is the gate's to notice
            return self.against(candidate) or len(self.behind(candidate, -1)) < 2
        return self.people_say(candidate) != candidate.verdict

    # What holds ---------------------------------------------------------------------------------------

    @invariant()
    def verdicts_are_those_of_the_model(self) -> None:
        told = {decided.fact.model: decided.fact.verdict for decided in self.deployment.store.find(DecisionMade)}
        wanted = {candidate.model: candidate.verdict for candidate in self.candidates if candidate.verdict}
        assert told == wanted
        assert len(self.deployment.store.find(ApprovalGiven)) == sum(len(each.said) for each in self.candidates)

    @invariant()
    def what_serves_is_stood_behind(self) -> None:
        answer = self.gate.admit()
        if isinstance(answer, Admitted):
            candidate = next(each for each in self.candidates if each.model == answer.model)
            known = [s for s in candidate.said if s.person not in self.gone and s.key not in self.revoked]
            signed = {s.person for s in known if s.word == "approve" and s.person in APPROVERS}
            assert len(signed - {"carol"}) > 1, "fewer than two signed what serves"
        current = self.deployment.store.current(SERVING)
        newest = {each.model: each for each in self.candidates}.get(current.model)
        if newest is not None and not current.halted and not self.to_be_decided(newest):
            assert newest.verdict == "approve"
            if len(self.behind(newest, self.now)) < 2:
                assert not isinstance(answer, Admitted), "it serves on approvals that have ended"


Approvals.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestApprovals = Approvals.TestCase


class MoreApprovals(Approvals):
    """The same, for longer."""


MoreApprovals.TestCase.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
TestMoreApprovals = pytest.mark.torture(MoreApprovals.TestCase)
