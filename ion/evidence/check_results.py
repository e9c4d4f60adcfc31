"""What the data a model was made from was checked for: an in-toto Test Result (v0.1). docs/spec/checks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ion.canonical import digest_json
from ion.errors import IonError
from ion.evidence.envelope import Unverified, sign, verify
from ion.evidence.in_toto import BAD_STATEMENT, PAYLOAD_TYPE, check, predicate_of, statement_form, subject_of
from ion.evidence.parsing import MAX_INTEGER, Fields, is_digest
from ion.evidence.provenance import DATASET
from ion.ids import checked_node
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import Signer
    from ion.evidence.trust_root import TrustRoot

CHECKS_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
EXTENSION = "urn:dagster-ion:checks:v1"
_WARNS = "WARN"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The newest result of one required check on one dataset version.

    Args:
        asset: the dataset, ``ion/name``.
        name: the check's.
        dataset: digest of the version it looked at; empty when the model used no version of that dataset.
        passed: None when there is no result on exactly this version.
        severity: ``ERROR`` or ``WARN``, as declared; empty without a result.
        results: one object for each expectation.
    """

    asset: str
    name: str
    dataset: str
    passed: bool | None
    severity: str
    results: tuple[Mapping[str, object], ...]

    def __post_init__(self) -> None:
        """Refuse a result about nothing."""
        check(bool(self.asset and self.name), "a check has no name")
        check(not self.dataset or is_digest(self.dataset), "a check looked at no dataset version")
        check(self.passed is None or bool(self.dataset), "a result about no dataset version")
        check(self.passed is not None or not (self.severity or self.results), "a check without a result has results")

    @property
    def title(self) -> str:
        """How the test lists name it; the dataset version is part of it."""
        return f"{self.asset}:{self.name}@{self.dataset or 'none'}"

    @property
    def evidence(self) -> str:
        """The digest under which a decision names this result as ``ion:check:…``."""
        results = [dict(each) for each in self.results]
        return digest_json({"dataset": self.dataset, "passed": self.passed, "results": results})

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "asset": self.asset,
            "dataset": self.dataset,
            "name": self.name,
            "passed": self.passed,
            "results": [dict(each) for each in self.results],
            "severity": self.severity,
        }

    @classmethod
    def parse(cls, value: object) -> CheckResult:
        """Parse what `to_json` made.

        Raises:
            IonError: ``bad-statement``.
        """
        fields = Fields.of(value, "check", BAD_STATEMENT)
        results = fields.items("results")
        check(all(isinstance(each, dict) for each in results), "a result is not an object")
        passed = None if fields.take("passed") is None else fields.flag("passed")
        found = cls(
            asset=fields.text("asset"),
            name=fields.text("name"),
            dataset=fields.string("dataset"),
            passed=passed,
            severity=fields.string("severity"),
            results=tuple(cast("list[dict[str, object]]", results)),
        )
        fields.done()
        return found


@dataclass(frozen=True, slots=True)
class CheckStatement:
    """The results of all checks that were required of the data behind one candidate.

    Args:
        node: the training node, ``ion/node``.
        model: model version, the statement's subject.
        run: the node run that made it.
        attested: when governance signed this, microseconds UTC.
        checks: at least one.
    """

    node: str
    model: str
    run: str
    attested: int
    checks: tuple[CheckResult, ...]

    def __post_init__(self) -> None:
        """Refuse a statement about nothing."""
        checked_node(self.node)
        check(is_digest(self.model), "a digest is not a sha256 digest")
        check(bool(self.run and self.checks), "no run or no check is named")
        check(0 <= self.attested <= MAX_INTEGER, "a time is none")
        titles = [each.title for each in self.checks]
        check(len(set(titles)) == len(titles), "a check is listed twice")

    @property
    def result(self) -> str:
        """``PASSED``, ``WARNED`` or ``FAILED``; a required check without a result failed."""
        if self._titles("failedTests"):
            return "FAILED"
        return "WARNED" if self._titles("warnedTests") else "PASSED"

    def _titles(self, listed: str) -> list[str]:
        return [each.title for each in self.checks if _list_of(each) == listed]

    def to_payload(self) -> dict[str, object]:
        """Return the in-toto Statement as JSON values."""
        versions = {(each.asset, each.dataset): None for each in self.checks if each.dataset}
        predicate: dict[str, object] = {
            "result": self.result,
            "configuration": [
                {"name": asset, "digest": {DATASET: dataset.removeprefix("sha256:")}} for asset, dataset in versions
            ],
            "passedTests": self._titles("passedTests"),
            "warnedTests": self._titles("warnedTests"),
            "failedTests": self._titles("failedTests"),
            EXTENSION: {
                "attested": self.attested,
                "candidateRun": self.run,
                "checks": [each.to_json() for each in self.checks],
                "node": self.node,
            },
        }
        return statement_form(self.node, self.model, CHECKS_TYPE, predicate)

    @classmethod
    def from_payload(cls, payload: dict[str, object]) -> CheckStatement:
        """Parse exactly what `to_payload` makes.

        Raises:
            IonError: ``bad-statement``.
        """
        ours = predicate_of(payload, CHECKS_TYPE).inner(EXTENSION)
        statement = cls(
            node=ours.text("node"),
            model=subject_of(payload),
            run=ours.text("candidateRun"),
            attested=ours.integer("attested"),
            checks=tuple(CheckResult.parse(item) for item in ours.items("checks")),
        )
        check(statement.to_payload() == payload, "it is not in the one form it is signed in")
        return statement


def sign_checks(statement: CheckStatement, signer: Signer) -> bytes:
    """Return the statement's DSSE envelope.

    Raises:
        IonError: ``bad-envelope`` when it would be larger than 1 MiB.
    """
    return sign(statement.to_payload(), PAYLOAD_TYPE, signer)


def verify_checks(envelope: bytes, trust: TrustRoot) -> CheckStatement | Unverified:
    """Return the check results a key signed that was trusted at the time, else why there are none."""
    answer = verify(envelope, trust, PAYLOAD_TYPE)
    if isinstance(answer, Unverified):
        return answer
    try:
        statement = CheckStatement.from_payload(answer.payload)
    except IonError as error:
        return Unverified(error.message)
    counted = trust.covers(answer.key_id, statement.attested)
    return statement if counted else Unverified("the key that signed it did not count at the time")


def _list_of(each: CheckResult) -> str:
    if each.passed:
        return "passedTests"
    return "warnedTests" if each.passed is False and each.severity == _WARNS else "failedTests"
