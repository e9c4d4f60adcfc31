"""The dataset versions a model was made from, back to their origins, with the checks made on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.canonical import digest_json
from ion.clock import rfc3339
from ion.facts import CheckEvaluated, ComponentRan, DatasetRecorded
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.facts import DecisionMade, ModelRecorded
    from ion.graph.inquiry import Answer, Inquiry
    from ion.records import Recorded


@dataclass(frozen=True, slots=True)
class DatasetUsed:
    """A dataset version on the way to a model, and the fact of its writing (None: nobody told)."""

    name: str
    digest: str
    records: tuple[DatasetRecorded, ...]
    writer: Recorded[DatasetRecorded] | None


def datasets_used(inquiry: Inquiry, made: Recorded[ModelRecorded]) -> list[DatasetUsed]:
    """Walk from what a model names through who wrote each version to what that component read.

    The same rows may be written again by a later run; a version's writer is the reading run itself,
    else the newest that wrote before it was read.
    """
    found: dict[str, DatasetUsed] = {}
    waiting = [(role, str(digest), made.fact.run, made.us) for role, digest in made.fact.datasets.items()]
    while waiting:
        role, digest, reader, read_us = waiting.pop()
        if digest in found:
            continue
        records = inquiry.find(DatasetRecorded, digest)
        inquiry.concerns(digest)
        writer = _writer([r for r in records if r.fact.role in {"output", "heldout"}], reader, read_us)
        name = role if role == "heldout" else (records[0].fact.name if records else role)
        found[digest] = DatasetUsed(name, digest, tuple(r.fact for r in records), writer)
        if writer is not None and writer.fact.role == "output":
            waiting += [
                (r.fact.name, r.fact.digest, writer.fact.run, r.us)
                for r in inquiry.find(DatasetRecorded, writer.fact.run)
                if r.fact.role == "input" and r.fact.component == writer.fact.component
            ]
    if not found:
        inquiry.hole("datasets", made.fact.model, "the model names no dataset")
    return sorted(found.values(), key=lambda version: version.name)


def dataset_answers(
    inquiry: Inquiry, versions: list[DatasetUsed], decision: Recorded[DecisionMade] | None
) -> list[Answer]:
    """Return the dataset versions as JSON, each with the checks there were when the model was judged.

    What the decision looked at is the measure: a version or check result that it names and that can
    no longer be found is a hole.
    """
    answers = [_answer(inquiry, version, decision) for version in versions]
    if decision is None:
        return answers
    present = {(version.name, version.digest) for version in versions}
    for evidence, digest in decision.fact.evidence.items():
        kind, _, name = evidence.partition(":")
        if kind == "dataset" and (name, digest) not in present:
            reason = f"the decision looked at {name} in this version; lineage no longer leads there"
            inquiry.hole("dataset", str(digest), reason)
        if kind == "check":
            asset, _, check = name.partition(":")
            if digest not in _check_digests(inquiry, asset, check):
                inquiry.hole("check", name, "the result that the decision looked at can no longer be found")
    return answers


def _writer(written: list[Recorded[DatasetRecorded]], reader: str, read_us: int) -> Recorded[DatasetRecorded] | None:
    own = [record for record in written if record.fact.run == reader]
    before = sorted((record for record in written if record.us <= read_us), key=lambda record: record.us)
    # Facts of a clock that is ahead may look later than the reading: better the first of those than none.
    for candidates in (own[-1:], before[-1:], written[:1]):
        if candidates:
            return candidates[0]
    return None


def _answer(inquiry: Inquiry, version: DatasetUsed, decision: Recorded[DecisionMade] | None) -> Answer:
    answer: Answer = {"name": version.name, "digest": version.digest, "written_by": None}
    told = version.writer.fact if version.writer else next(iter(version.records), None)
    if told is not None:
        answer |= {
            "recorded_as": told.name,
            "rows": told.rows,
            "classification": told.classification,
            "uri": told.uri,
            "schema": [dict(column) for column in told.schema],
        }
    if version.writer is None:
        inquiry.hole("dataset", version.digest, f"no fact says who wrote this version of {version.name}")
    else:
        answer["written_by"] = {"run": version.writer.fact.run, "component": version.writer.fact.component}
        _check_component(inquiry, version.name, version.writer.fact)
    answer["checks"] = [
        {
            "name": r.fact.name,
            "asset": r.fact.asset,
            "passed": r.fact.passed,
            "severity": r.fact.severity,
            "at": rfc3339(r.us),
            "engine_run": r.fact.engine_run,
            "results": [dict(row) for row in r.fact.results],
        }
        for r in inquiry.find(CheckEvaluated, version.digest)
        if decision is None or r.position < decision.position
    ]
    return answer


def _check_component(inquiry: Inquiry, name: str, writer: DatasetRecorded) -> None:
    ran = {record.fact.component for record in inquiry.find(ComponentRan, writer.run)}
    if writer.component and writer.component not in ran:
        about = f"{writer.run}/{writer.component}"
        inquiry.hole("component", about, f"it wrote {name}, but no fact says that it ran")


def _check_digests(inquiry: Inquiry, asset: str, name: str) -> set[str]:
    """Return the evidence digest of every recorded result of a check, as a decision computes it."""
    results = [r.fact for r in inquiry.find(CheckEvaluated, asset) if r.fact.name == name]
    return {
        digest_json({"dataset": fact.dataset, "passed": fact.passed, "results": [dict(row) for row in fact.results]})
        for fact in results
    }
