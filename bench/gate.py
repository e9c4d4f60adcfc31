"""What the gate costs: a small model admitted, a poll that finds nothing new, and a gibibyte read and hashed.

Two people approved each model, and every statement is verified: trust document, pointer, two approvals,
decision, provenance. The gibibyte is of a format that has no loader, so that reading and hashing it is all
that is measured; the gate refuses it at the step after.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from typing import TYPE_CHECKING

from bench.candidates import pretrained
from bench.figures import tell, tell_samples
from bench.governed_node import NODE
from bench.scene import temporary_home
from ion.clock import now_us
from ion.evidence import (
    ArtifactStore,
    DecisionStatement,
    PromotionStatement,
    Signer,
    founded_trust,
    load_signer,
    sign_statement,
    trust_file,
)
from ion.evidence.approvals import ApprovalStatement, sign_approval
from ion.evidence.decisions import RequiredApprovals
from ion.evidence.files import write_atomic
from ion.evidence.keys import create_key
from ion.evidence.trust import Person, TrustedKey, sign_trust
from ion.evidence.trust_root import Window
from ion.ids import new_id
from ion.serving import Admitted, Gate, Refused, pointer_path, write_pointer
from ion.testing import attested

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.home import Home

_DAY_US = 86_400_000_000
_ADMISSIONS = 200
_POLLS = 2000
_SIZE = 1 << 30
_READS = 7
_CPU_MS = 20.0
_TIMES_HASHED = 1.3


def measure() -> None:
    """Print all figures."""
    with temporary_home() as home:
        node = _Node(home)
        _small(node)
        _large(node)


class _Node:
    """A serving node whose models two people approve."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.artifacts = ArtifactStore(home.artifacts)
        self._serial = 0
        trust = founded_trust(home)
        self._signer = load_signer(home.decision_key_uri)
        self._people: dict[str, Signer] = {}
        for name in ("anna", "ben"):
            create_key(home.root / f"{name}.pem")
            self._people[name] = load_signer(f"file:{home.root / f'{name}.pem'}")
        people = tuple(
            Person(name, name, ("approver",), (), (TrustedKey(key.public, Window()),))
            for name, key in self._people.items()
        )
        document = type(trust.document)(
            version=2,
            issued=now_us(),
            expires=now_us() + _DAY_US,
            people=people,
            services=trust.document.services,
        )
        write_atomic(home.trust_document, sign_trust(document, load_signer(f"file:{home.keys / 'root.pem'}")))

    def promote(self, files: dict[str, bytes]) -> str:
        """Approve and promote a model; return its digest."""
        model, run, now = self.artifacts.put_model(files).digest, new_id(), now_us()
        ion, _, name = NODE.partition("/")
        approvals = tuple(self._approval(person, model, now) for person in self._people)
        decision = DecisionStatement(
            ion=ion,
            node=name,
            model=model,
            candidate_run=run,
            verdict="approve",
            reasons=("measured",),
            policy_uri="policy:bench",
            policy_digest=model,
            evidence=(attested(self.artifacts, self._signer, model=model, run=run, at=now),),
            decided=now,
            expires=now + _DAY_US,
            verifier_version="0",
            automatic=False,
            approvals=(RequiredApprovals("approver", 2, approvals),),
        )
        self._serial += 1
        promotion = PromotionStatement(
            ion=ion,
            node=name,
            action="promote",
            model=model,
            decision=self.artifacts.put(sign_statement(decision, self._signer)),
            serial=self._serial,
            cause=new_id(),
            issued=now,
            lease_end=now + _DAY_US,
            on_lease_end="keep",
        )
        write_pointer(pointer_path(self.home.root, NODE), sign_statement(promotion, self._signer))
        return model

    def gate(self) -> Gate:
        """Return a gate that has seen nothing yet."""
        state = self.home.root / f"accepted-{self._serial}.json"
        return Gate(pointer_path(self.home.root, NODE), self.artifacts, trust_file(self.home), NODE, state)

    def _approval(self, person: str, model: str, now: int) -> str:
        ion, _, name = NODE.partition("/")
        statement = ApprovalStatement(
            id=new_id(),
            ion=ion,
            node=name,
            model=model,
            person=person,
            word="approve",
            reason="looked at it",
            issued=now - 1,
            until=now + _DAY_US,
        )
        return self.artifacts.put(sign_approval(statement, self._people[person]))


def _small(node: _Node) -> None:
    size = len(content := pretrained(1).scorers[0].to_bytes())
    node.promote({"model.json": content})
    if not isinstance(answer := node.gate().admit(), Admitted):
        raise TypeError(f"the model was not admitted: {answer}")
    first = [_cpu(lambda: node.gate().admit()) * 1e3 for _ in range(_ADMISSIONS)]
    note = f"{size} bytes, two approvals, six signatures, by a gate that has seen nothing; CPU"
    tell_samples("gate.admission", first, "ms", 0.99, target=_CPU_MS, note=note)
    warm = node.gate()
    warm.admit()
    again = [_cpu(warm.admit) * 1e3 for _ in range(_POLLS)]
    tell_samples("gate.poll", again, "ms", 0.5, note="nothing changed; once a second; CPU")


def _large(node: _Node) -> None:
    content = os.urandom(_SIZE)
    model = node.promote({"weights.bin": content})
    del content
    (entry,) = node.artifacts.get_manifest(model).entries
    path = node.artifacts.path(entry.sha256)

    def admitted() -> None:
        answer = node.gate().admit()
        if not (isinstance(answer, Refused) and answer.step == "format"):
            raise TypeError(f"another answer than expected: {answer}")

    hashed, gated = [], []
    for _ in range(_READS):
        hashed.append(_wall(lambda: _hash(path)))
        gated.append(_wall(admitted))
    once, through = statistics.median(hashed), statistics.median(gated)
    tell("gate.gibibyte.hashed", once, "s", _READS, note="hashlib.file_digest: streamed, kept nowhere")
    tell(
        "gate.gibibyte",
        through,
        "s",
        _READS,
        note="read into memory and hashed; refused at the format, which has no loader",
    )
    note = "medians; page cache warm"
    tell("gate.gibibyte.times", through / once, "x hashed", _READS, target=_TIMES_HASHED, note=note)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cpu(action: Callable[[], object]) -> float:
    before = time.thread_time()
    action()
    return time.thread_time() - before


def _wall(action: Callable[[], object]) -> float:
    before = time.perf_counter()
    action()
    return time.perf_counter() - before
