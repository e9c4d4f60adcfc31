"""Provenance and check results: the documented forms, signed and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ion.errors import IonError
from ion.evidence import TrustRoot, Unverified, create_key, load_signer
from ion.evidence.check_results import CheckResult, CheckStatement, sign_checks, verify_checks
from ion.evidence.envelope import sign
from ion.evidence.in_toto import PAYLOAD_TYPE
from ion.evidence.provenance import Dependency, ProvenanceStatement, sign_provenance, verify_provenance
from ion.evidence.trust_root import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ion.evidence import Signer

D1, D2, D3 = ("sha256:" + digit * 64 for digit in "123")
T = 1_800_000_000_000_001

PROVENANCE = ProvenanceStatement(
    node="patient_tests/model",
    model=D1,
    run="run-1",
    started=T - 9_000_000,
    finished=T - 1_000_000,
    attested=T,
    version="0.1.0",
    dependencies=(
        Dependency("patient_tests/features", f"artifact:{D2}", "ionDatasetV1", "3" * 64),
        Dependency("source", "git+https://example.org/a.git@" + "c" * 40, "gitCommit", "c" * 40),
        Dependency("requirements/main.txt", "ion:source/requirements/main.txt", "sha256", "5" * 64),
    ),
    parameters={"config": {"ops": {}}, "parameters": {"model": {"weight": 1e20, "depth": 3}}},
    internal={"environment": {"python": "3.11.9"}},
    engine="dagster",
    engine_run="dagster-run-1",
)
PASSED = CheckResult("patient_tests/features", "expectations", D2, True, "ERROR", ({"expectation": "a", "rows": 1},))  # noqa: FBT003
WARNED = CheckResult("patient_tests/patients", "freshness", D3, False, "WARN", ())  # noqa: FBT003
MISSING = CheckResult("patient_tests/patients", "expectations", D3, None, "", ())
CHECKS = CheckStatement("patient_tests/model", D1, "run-1", T, (PASSED,))


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    create_key(tmp_path / "key.pem")
    return load_signer(f"file:{tmp_path / 'key.pem'}")


def test_provenance_is_the_documented_statement() -> None:
    assert PROVENANCE.to_payload() == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "patient_tests/model", "digest": {"sha256": "1" * 64}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:dagster-ion:training:v1",
                "externalParameters": PROVENANCE.parameters,
                "internalParameters": PROVENANCE.internal,
                "resolvedDependencies": [
                    {
                        "name": "patient_tests/features",
                        "uri": f"artifact:{D2}",
                        "digest": {"ionDatasetV1": "3" * 64},
                    },
                    {
                        "name": "source",
                        "uri": "git+https://example.org/a.git@" + "c" * 40,
                        "digest": {"gitCommit": "c" * 40},
                    },
                    {
                        "name": "requirements/main.txt",
                        "uri": "ion:source/requirements/main.txt",
                        "digest": {"sha256": "5" * 64},
                    },
                ],
            },
            "runDetails": {
                "builder": {"id": "urn:dagster-ion:builder:v1", "version": {"dagster-ion": "0.1.0"}},
                "metadata": {
                    "invocationId": "run-1",
                    "startedOn": "2027-01-15T07:59:51.000001Z",
                    "finishedOn": "2027-01-15T07:59:59.000001Z",
                },
            },
            "urn:dagster-ion:provenance:v1": {
                "attested": T,
                "engine": "dagster",
                "engineRun": "dagster-run-1",
                "node": "patient_tests/model",
            },
        },
    }


def test_check_results_are_the_documented_statement() -> None:
    payload = replace(CHECKS, checks=(PASSED, WARNED, MISSING)).to_payload()
    predicate = payload["predicate"]
    assert isinstance(predicate, dict)
    assert predicate.pop("urn:dagster-ion:checks:v1")["checks"][0] == {
        "asset": "patient_tests/features",
        "dataset": D2,
        "name": "expectations",
        "passed": True,
        "results": [{"expectation": "a", "rows": 1}],
        "severity": "ERROR",
    }
    assert payload["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert predicate == {
        "result": "FAILED",
        "configuration": [
            {"name": "patient_tests/features", "digest": {"ionDatasetV1": "2" * 64}},
            {"name": "patient_tests/patients", "digest": {"ionDatasetV1": "3" * 64}},
        ],
        "passedTests": [f"patient_tests/features:expectations@{D2}"],
        "warnedTests": [f"patient_tests/patients:freshness@{D3}"],
        "failedTests": [f"patient_tests/patients:expectations@{D3}"],
    }


def test_provenance_and_checks_are_read_back_as_signed(signer: Signer) -> None:
    trust = TrustRoot((signer.public,))
    assert verify_provenance(sign_provenance(PROVENANCE, signer), trust) == PROVENANCE
    statement = replace(CHECKS, checks=(PASSED, WARNED, MISSING))
    assert verify_checks(sign_checks(statement, signer), trust) == statement


@pytest.mark.parametrize(
    ("checks", "result"),
    [
        ((PASSED,), "PASSED"),
        ((PASSED, WARNED), "WARNED"),
        ((PASSED, MISSING), "FAILED"),
        ((PASSED, replace(WARNED, severity="ERROR")), "FAILED"),
    ],
)
def test_a_missing_result_is_a_failed_test_and_a_warning_no_success(
    checks: tuple[CheckResult, ...], result: str
) -> None:
    assert replace(CHECKS, checks=checks).result == result


def test_one_statement_is_not_taken_for_another(signer: Signer) -> None:
    trust = TrustRoot((signer.public,))
    assert isinstance(verify_provenance(sign_checks(CHECKS, signer), trust), Unverified)
    assert isinstance(verify_checks(sign_provenance(PROVENANCE, signer), trust), Unverified)


@pytest.mark.parametrize(
    ("window", "counts"), [(Window(since=T), True), (Window(until=T), False), (Window(0, T), False)]
)
def test_a_key_counts_at_the_time_it_attested(signer: Signer, window: Window, *, counts: bool) -> None:
    trust = TrustRoot((signer.public,), {signer.public.key_id: window})
    late = Unverified("the key that signed it did not count at the time")
    assert verify_provenance(sign_provenance(PROVENANCE, signer), trust) == (PROVENANCE if counts else late)
    assert verify_checks(sign_checks(CHECKS, signer), trust) == (CHECKS if counts else late)


def test_a_stranger_attests_nothing(signer: Signer, tmp_path: Path) -> None:
    stranger = TrustRoot((create_key(tmp_path / "other.pem"),))
    assert isinstance(verify_provenance(sign_provenance(PROVENANCE, signer), stranger), Unverified)
    assert isinstance(verify_checks(sign_checks(CHECKS, signer), stranger), Unverified)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(PROVENANCE, model="sha256:abc"), "a digest is not a sha256 digest"),
        (lambda: replace(PROVENANCE, run=""), "a name is empty"),
        (lambda: replace(PROVENANCE, version=""), "a name is empty"),
        (lambda: replace(PROVENANCE, attested=-1), "a time is none"),
        (lambda: replace(PROVENANCE, started=-1), "a time is none"),
        (lambda: replace(PROVENANCE, finished=1 << 53), "a time is none"),
        (lambda: Dependency("", "x", "sha256", "1" * 64), "a dependency has no name or no URI"),
        (lambda: Dependency("x", "", "sha256", "1" * 64), "a dependency has no name or no URI"),
        (lambda: Dependency("x", "x", "md5", "1" * 32), "a dependency's digest is of an unknown kind"),
        (lambda: Dependency("x", "x", "sha256", "1" * 40), "a dependency's digest is malformed"),
        (lambda: Dependency("x", "x", "sha256", ""), "a dependency's digest is malformed"),
        (lambda: Dependency("x", "x", "gitCommit", "1" * 63), "a dependency's digest is malformed"),
        (lambda: Dependency("x", "x", "sha256", "A" * 64), "a dependency's digest is malformed"),
        (lambda: Dependency("x", "x", "sha256", "1" * 63 + "\n"), "a dependency's digest is malformed"),
        (lambda: replace(CHECKS, checks=()), "no run or no check is named"),
        (lambda: replace(CHECKS, run=""), "no run or no check is named"),
        (lambda: replace(CHECKS, checks=(PASSED, PASSED)), "a check is listed twice"),
        (lambda: replace(CHECKS, attested=-1), "a time is none"),
        (lambda: replace(CHECKS, attested=1 << 53), "a time is none"),
        (lambda: replace(CHECKS, model="1" * 64), "a digest is not a sha256 digest"),
        (lambda: replace(PASSED, name=""), "a check has no name"),
        (lambda: replace(PASSED, asset=""), "a check has no name"),
        (lambda: replace(PASSED, dataset="elsewhere"), "a check looked at no dataset version"),
        (lambda: replace(PASSED, dataset=""), "a result about no dataset version"),
        (lambda: replace(MISSING, severity="ERROR"), "a check without a result has results"),
        (lambda: replace(MISSING, results=({},)), "a check without a result has results"),
    ],
)
def test_what_nobody_could_verify_is_not_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(IonError) as caught:
        make()
    assert (caught.value.code, caught.value.message) == ("bad-statement", f"statement: {message}")


@pytest.mark.parametrize("statement", [PROVENANCE, CHECKS])
def test_a_statement_is_about_a_node(statement: ProvenanceStatement | CheckStatement) -> None:
    with pytest.raises(IonError) as caught:
        replace(statement, node="not a node")
    assert caught.value.code == "bad-node"


def test_the_limits_themselves_are_allowed() -> None:
    assert replace(PROVENANCE, started=0, finished=0, attested=(1 << 53) - 1)
    assert replace(CHECKS, attested=0)
    assert replace(CHECKS, attested=(1 << 53) - 1)
    assert Dependency("x", "x", "gitCommit", "1" * 64)
    assert Dependency("x", "x", "gitCommit", "1" * 40)


def changed(payload: dict[str, Any], path: tuple[object, ...], value: object) -> dict[str, Any]:
    """Return a copy with one value replaced; an ellipsis takes it away."""
    copy = json.loads(json.dumps(payload))
    parent = copy
    for step in path[:-1]:
        parent = parent[step]
    if value is ...:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return copy  # type: ignore[no-any-return]


DEPENDENCY = ("predicate", "buildDefinition", "resolvedDependencies", 0)
CHECK = ("predicate", "urn:dagster-ion:checks:v1", "checks", 0)


@pytest.mark.parametrize(
    ("statement", "path", "value", "message"),
    [
        (PROVENANCE, DEPENDENCY, [], "dependency is not an object"),
        (PROVENANCE, (*DEPENDENCY, "digest"), {"md5": "1"}, "statement: a dependency's digest is of an unknown kind"),
        (PROVENANCE, (*DEPENDENCY, "digest"), 1, "dependency.digest is not an object"),
        (PROVENANCE, (*DEPENDENCY, "more"), 1, "statement: it is not in the one form it is signed in"),
        (PROVENANCE, ("more",), 1, "statement: it is not in the one form it is signed in"),
        (CHECKS, CHECK, [], "check is not an object"),
        (CHECKS, (*CHECK, "results"), [1], "statement: a result is not an object"),
        (CHECKS, (*CHECK, "passed"), 1, "check: field 'passed' is neither true nor false"),
        (CHECKS, (*CHECK, "more"), 1, "check: unknown field 'more'"),
        (CHECKS, (*CHECK, "severity"), ..., "check: field 'severity' is missing"),
        (CHECKS, ("predicate", "result"), "WARNED", "statement: it is not in the one form it is signed in"),
    ],
)
def test_a_signed_statement_of_another_form_is_refused_and_the_reason_told(
    signer: Signer,
    statement: ProvenanceStatement | CheckStatement,
    path: tuple[object, ...],
    value: object,
    message: str,
) -> None:
    envelope = sign(changed(statement.to_payload(), path, value), PAYLOAD_TYPE, signer)
    verify = verify_provenance if isinstance(statement, ProvenanceStatement) else verify_checks
    assert verify(envelope, TrustRoot((signer.public,))) == Unverified(message)


def test_an_envelope_of_another_kind_of_payload_is_refused(signer: Signer) -> None:
    trust = TrustRoot((signer.public,))
    for statement, verify in ((PROVENANCE, verify_provenance), (CHECKS, verify_checks)):
        answer = verify(sign(statement.to_payload(), "application/json", signer), trust)
        assert answer == Unverified("the envelope holds another type of payload")


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in _paths(item, (*path, key)))]


@pytest.mark.parametrize("statement", [PROVENANCE, replace(CHECKS, checks=(PASSED, WARNED, MISSING))])
def test_no_field_can_be_taken_away_or_added(statement: ProvenanceStatement | CheckStatement) -> None:
    free = {"externalParameters", "internalParameters", "results"}
    whole = json.loads(json.dumps(statement.to_payload()))
    assert type(statement).from_payload(whole) == statement
    for path in _paths(whole):
        if free & set(path) and path[-1] not in free:
            continue  # values of the user's own
        for change in ("added", "removed", "replaced"):
            payload = json.loads(json.dumps(whole))
            parent = payload
            for step in path[:-1]:
                parent = parent[step]
            target = parent[path[-1]] if path else payload
            if change == "added" and isinstance(target, dict) and not free & set(path):
                target["more"] = 1
            elif change == "removed" and path:
                del parent[path[-1]]
            elif change == "replaced" and path:
                parent[path[-1]] = [None]
            else:
                continue
            code, read = _read(statement, payload)
            if read is None:
                assert code in {"bad-statement", "bad-node", "bad-digest"}, (path, change)
            else:
                assert read != statement, (path, change)
                assert path[-1] in {"checks", "resolvedDependencies", *range(9)} | free, (path, change)


def _read(like: ProvenanceStatement | CheckStatement, payload: dict[str, object]) -> tuple[str, object]:
    try:
        return "", type(like).from_payload(payload)
    except IonError as error:
        return error.code, None
