"""Where a model version came from: SLSA Provenance (v1) with an extension block. docs/spec/provenance.md."""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.errors import IonError
from ion.evidence.envelope import Unverified, sign, verify
from ion.evidence.in_toto import (
    BAD_STATEMENT,
    PAYLOAD_TYPE,
    check,
    from_rfc3339,
    predicate_of,
    statement_form,
    subject_of,
)
from ion.evidence.parsing import MAX_INTEGER, Fields, is_digest
from ion.ids import checked_node
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:dagster-ion:training:v1"
BUILDER = "urn:dagster-ion:builder:v1"
EXTENSION = "urn:dagster-ion:provenance:v1"

DATASET, SOURCE, FILE, COMMIT = "ionDatasetV1", "ionSourceV1", "sha256", "gitCommit"
ALGORITHMS = {DATASET: 64, SOURCE: 64, FILE: 64, COMMIT: 40}
"""How a dependency is named by digest, and how many hex digits that has (a git of SHA-256 objects has 64)."""
_HEX = re.compile(r"[0-9a-f]+\Z")


@dataclass(frozen=True, slots=True)
class Dependency:
    """One thing that went into the training (an in-toto ResourceDescriptor).

    Args:
        name: what it was there for: a dataset's name, ``heldout``, ``source``, ``requirements/main.txt``.
        uri: where it can be had; no path of a host.
        algorithm: one of `ALGORITHMS`; ``sha256`` is the digest of a file's bytes, ``ionDatasetV1`` and
            ``ionSourceV1`` are SHA-256 over rows and over source files as docs/spec/provenance.md says.
        digest: lower-case hex.
    """

    name: str
    uri: str
    algorithm: str
    digest: str

    def __post_init__(self) -> None:
        """Refuse what names nothing or fixes no bytes."""
        check(bool(self.name and self.uri), "a dependency has no name or no URI")
        check(self.algorithm in ALGORITHMS, "a dependency's digest is of an unknown kind")
        lengths = {ALGORITHMS[self.algorithm], 64 if self.algorithm == COMMIT else 0}
        check(len(self.digest) in lengths and bool(_HEX.match(self.digest)), "a dependency's digest is malformed")

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"name": self.name, "uri": self.uri, "digest": {self.algorithm: self.digest}}

    @classmethod
    def parse(cls, value: object) -> Dependency:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-statement``.
        """
        fields = Fields.of(value, "dependency", BAD_STATEMENT)
        digests = fields.inner("digest")
        algorithm = next((name for name in ALGORITHMS if name in digests.values), "")
        check(bool(algorithm), "a dependency's digest is of an unknown kind")
        return cls(fields.text("name"), fields.text("uri"), algorithm, digests.text(algorithm))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceStatement:
    """Where a model version came from, as far as governance has facts. Times are microseconds UTC.

    Args:
        node: the training node, ``ion/node``.
        model: model version (manifest digest), the statement's subject.
        run: the node run that made it; with the model, the candidate.
        started: when the run started, as its author says.
        finished: when it ended.
        attested: when governance signed this.
        version: of dagster-ion.
        dependencies: datasets, source, lock file.
        parameters: what the run was configured with.
        internal: what was the machine's doing: interpreter, system.
        engine: what ran it (``dagster``), empty when nothing did.
        engine_run: the engine's id of the run.
    """

    node: str
    model: str
    run: str
    started: int
    finished: int
    attested: int
    version: str
    dependencies: tuple[Dependency, ...] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    internal: Mapping[str, object] = field(default_factory=dict)
    engine: str = ""
    engine_run: str = ""

    def __post_init__(self) -> None:
        """Refuse values that no verifier would accept, before they are signed."""
        checked_node(self.node)
        check(is_digest(self.model), "a digest is not a sha256 digest")
        check(bool(self.run and self.version), "a name is empty")
        check(all(0 <= at <= MAX_INTEGER for at in (self.started, self.finished, self.attested)), "a time is none")

    def to_payload(self) -> dict[str, object]:
        """Return the in-toto Statement as JSON values."""
        predicate: dict[str, object] = {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(self.parameters),
                "internalParameters": dict(self.internal),
                "resolvedDependencies": [each.to_json() for each in self.dependencies],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"dagster-ion": self.version}},
                "metadata": {
                    "invocationId": self.run,
                    "startedOn": rfc3339(self.started),
                    "finishedOn": rfc3339(self.finished),
                },
            },
            EXTENSION: {
                "attested": self.attested,
                "engine": self.engine,
                "engineRun": self.engine_run,
                "node": self.node,
            },
        }
        return statement_form(self.node, self.model, PROVENANCE_TYPE, predicate)

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> ProvenanceStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-statement``.
        """
        predicate = predicate_of(payload, PROVENANCE_TYPE)
        definition, details = predicate.inner("buildDefinition"), predicate.inner("runDetails")
        metadata, ours = details.inner("metadata"), predicate.inner(EXTENSION)
        statement = cls(
            node=ours.text("node"),
            model=subject_of(payload),
            run=metadata.text("invocationId"),
            started=from_rfc3339(metadata.text("startedOn")),
            finished=from_rfc3339(metadata.text("finishedOn")),
            attested=ours.integer("attested"),
            version=details.inner("builder").inner("version").text("dagster-ion"),
            dependencies=tuple(Dependency.parse(item) for item in definition.items("resolvedDependencies")),
            parameters=definition.inner("externalParameters").whole(),
            internal=definition.inner("internalParameters").whole(),
            engine=ours.string("engine"),
            engine_run=ours.string("engineRun"),
        )
        check(statement.to_payload() == payload, "it is not in the one form it is signed in")
        return statement


def sign_provenance(statement: ProvenanceStatement, signer: Signer) -> bytes:
    """Return the statement's DSSE envelope.

    Raises:
        IonError: ``bad-envelope`` when it would be larger than 1 MiB.
    """
    return sign(statement.to_payload(), PAYLOAD_TYPE, signer)


def verify_provenance(envelope: bytes, trust: TrustRoot) -> ProvenanceStatement | Unverified:
    """Return the provenance a key signed that was trusted at the time, else why there is none."""
    answer = verify(envelope, trust, PAYLOAD_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        statement = ProvenanceStatement.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    counted = trust.covers(answer.key_id, statement.attested)
    return statement if counted else Unverified("the key that signed it did not count at the time")
