"""What verifying the ledger costs: facts a second of one core, beside the most the hash allows; proofs at a million."""

from __future__ import annotations

import hashlib
import statistics
import time
from typing import TYPE_CHECKING

from bench.figures import tell, tell_samples
from bench.scene import say, temporary_home
from ion.audit import verify
from ion.audit.checkpoints import Checkpoints
from ion.audit.proving import newest_checkpoint, prove
from ion.evidence import TrustRoot, founded_trust, load_signer
from ion.facts import CheckEvaluated, ComponentRan, ParamRecorded, TrialRecorded
from ion.ledger import Checkpoint, Proof, SignedCheckpoint, Walk, inclusion_proof, leaf_hash, sign_checkpoint
from ion.ledger.merkle import Tree
from ion.store import open_store
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.evidence import Signer
    from ion.facts import Fact
    from ion.ledger import Entry
    from ion.records import Record
    from ion.store import GovernanceStore

FACTS = 200_000
WHOLE_FACTS = 20_000
"""For the whole audit, which parses every record several times over."""
LEAVES = 1_000_000
TARGET_US = 5.0
"""200,000 facts a second."""
TARGET_PROOF_BYTES = 1024
_BATCH = 5000
_REPEATS = 5
_PROOFS = 1000


def measure() -> None:
    """Measure and print every figure."""
    with temporary_home() as home:
        founded_trust(home)
        store = open_store(home.store_url)
        say(f"telling {WHOLE_FACTS} facts")
        _tell(store, 0, WHOLE_FACTS)
        checkpoints = Checkpoints.open(store, home)
        checkpoints.make()
        before = time.process_time()
        audit = verify(store, home)
        seconds = time.process_time() - before
        if not audit.ok:
            message = f"the audit found {audit.problems[:3]}"
            raise RuntimeError(message)
        note = f"{audit.entries / seconds:,.0f} facts/s: parsing, canonical form, fold and signatures of every record"
        tell("ledger: whole audit, CPU per fact", seconds / audit.entries * 1e6, "µs", audit.entries, note=note)

        say(f"telling {FACTS - WHOLE_FACTS} more")
        _tell(store, WHOLE_FACTS, FACTS)
        _stored(store)
        checkpoints.make()
        signed = newest_checkpoint(store, home)
        samples = [_wall(lambda at=at: prove(store, str(at), signed)) * 1e3 for at in range(1, FACTS, FACTS // 50)]
        tell_samples("ledger: proof from the store, wall", samples, "ms", 0.5, note=f"of {FACTS} facts, from tiles")
        store.close()
        _million(load_signer(home.ledger_key_uri))


def _tell(store: GovernanceStore, first: int, last: int) -> None:
    for start in range(first, last, _BATCH):
        store.append([_record(number) for number in range(start, min(start + _BATCH, last))])


def _record(number: int) -> Record:
    """Return one of the kinds of record that a deployment has most of."""
    run, dataset = f"run-{number // 100}", "sha256:" + "0" * 64
    results = [{"expectation": "expect_column_values_to_be_between", "column": "mean_radius", "success": True}]
    facts: tuple[Fact, ...] = (
        ParamRecorded(run=run, name="regularization", value=number / 7, component="model"),
        TrialRecorded(run=run, params={"depth": number}, metrics={"loss": 0.5, "auc": number / 3}, selected=False),
        CheckEvaluated(run=run, asset="a/b", name="c", dataset=dataset, passed=True, severity="ERROR", results=results),
        ComponentRan(run=run, component="features", component_kind="asset", details={"rows": number}),
    )
    return written(facts[number % len(facts)], number, fact_id=f"0000-{number:012d}")


def _stored(store: GovernanceStore) -> None:
    """Print what chain and tree cost: of bytes in memory, of the database, and of nothing but the hash."""
    entries = list(store.ledger.entries())
    size = sum(len(raw) for _, raw, _ in entries) / len(entries)
    ceiling = {tree: _each(lambda tree=tree: _only_hashes(entries, tree=tree), entries) for tree in (False, True)}
    for tree, name in ((False, "chain"), (True, "chain and tree")):
        tell(f"ledger: nothing but the hashes of {name}", ceiling[tree], "µs", FACTS, note=f"records of {size:.0f} B")
        memory = _each(lambda tree=tree: _walked([entries], tree=tree), entries)
        _compared(f"ledger: {name}, records in memory", memory, ceiling[tree])
        read = _each(lambda tree=tree: _walked(store.ledger.batches(), tree=tree), entries)
        _compared(f"ledger: {name}, read from SQLite", read, ceiling[tree])


def _compared(name: str, us: float, ceiling: float) -> None:
    note = f"{1e6 / us:,.0f} facts/s on one core, {ceiling / us:.0%} of what the hash allows"
    tell(f"{name}, CPU per fact", us, "µs", FACTS, target=TARGET_US, note=note)


def _only_hashes(entries: list[Entry], *, tree: bool) -> None:
    """Hash as many bytes in as many pieces as a verification must, and do nothing else."""
    sha256, pair, node = hashlib.sha256, bytes(64), bytes(65)
    for _, raw, _ in entries:
        sha256(raw).digest()
        sha256(pair).digest()
        if tree:
            sha256(raw).digest()
            sha256(node).digest()


def _walked(batches: object, *, tree: bool) -> None:
    walk = Walk(tree=tree)
    for batch in batches:  # type: ignore[attr-defined]
        walk.take(batch)
    if walk.broken is not None or walk.count < FACTS:
        message = f"the ledger of the benchmark does not hold: {walk.broken}"
        raise RuntimeError(message)


def _each(action: Callable[[], object], entries: list[Entry]) -> float:
    """Return the median CPU time per entry, in microseconds."""
    samples: list[float] = []
    for _ in range(_REPEATS):
        before = time.process_time()
        action()
        samples.append(time.process_time() - before)
    return statistics.median(samples) / len(entries) * 1e6


def _million(signer: Signer) -> None:
    """Print size and speed of proofs in a tree of a million leaves."""
    say(f"a tree of {LEAVES} leaves")
    raws = [b'{"record":%d}' % number for number in range(LEAVES)]
    tree = Tree(map(leaf_hash, raws))
    note = sign_checkpoint(Checkpoint("dagster-ion/store-0123456789ab", LEAVES, tree.root()), signer)
    trust = TrustRoot((signer.public,))
    places = range(1, LEAVES, LEAVES // _PROOFS)
    made = [_wall(lambda at=at: inclusion_proof(tree, at - 1, LEAVES)) * 1e6 for at in places]
    proofs = {at: Proof(at, tuple(inclusion_proof(tree, at - 1, LEAVES)), note) for at in places}
    checked = [_wall(lambda at=at, p=p: _held(p, raws[at - 1], trust)) * 1e6 for at, p in proofs.items()]
    longest = max(proofs.values(), key=lambda proof: len(proof.to_bytes()))
    path = sum(map(len, longest.hashes))
    text = len(longest.to_bytes()) - len(note)
    target = TARGET_PROOF_BYTES
    tell("ledger: inclusion proof of one fact in a million", path, "B", len(proofs), target=target, note="the hashes")
    tell("ledger: the same as text", text, "B", len(proofs), target=target, note="index and hashes in base64")
    whole = f"with the signed checkpoint of {len(note)} B"
    tell("ledger: the file c2sp.org/tlog-proof", len(longest.to_bytes()), "B", len(proofs), note=whole)
    tell_samples("ledger: making it, wall", made, "µs", 0.5, note="tree in memory")
    tell_samples("ledger: checking it, wall", checked, "µs", 0.5, note="with the signature of the checkpoint")


def _held(proof: Proof, raw: bytes, trust: TrustRoot) -> None:
    if not isinstance(Proof.parse(proof.to_bytes()).check(raw, trust), SignedCheckpoint):
        raise TypeError("a proof does not hold")


def _wall(action: Callable[[], object]) -> float:
    before = time.perf_counter()
    action()
    return time.perf_counter() - before
