"""Datasets of OpenLineage events: versions, checks of their quality, and counts."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ion.agent.intake.addressing import snake_case
from ion.agent.intake.facets import Facets, Text, number
from ion.agent.intake.telling import Telling
from ion.canonical import digest_json
from ion.facts import CheckEvaluated, DatasetRecorded, Fact
from ion.ids import observed_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ion.agent.intake.addressing import Place

DATASET_FACETS = frozenset(
    {"schema", "version", "dataQualityAssertions", "dataQualityMetrics", "inputStatistics", "outputStatistics"}
)
ROWS_UNKNOWN = -1
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?\Z")
_COUNTS = {"rowCount": "rows", "bytes": "bytes", "size": "bytes", "fileCount": "files"}
_OF_COLUMN = {
    "nullCount": "nulls", "distinctCount": "distinct", "sum": "sum", "count": "count", "min": "min", "max": "max",
}  # fmt: skip


def dataset_tellings(
    dataset: Facets, *, run: str, place: Place, role: str
) -> tuple[list[Telling], list[tuple[str, float]]]:
    """Return the dataset version and the checks on it, and its counts as (series, value).

    The digest is of the names and the version that the event gives: OpenLineage knows no digest of the bytes.

    Raises:
        IonError: ``bad-event``.
    """
    namespace, named = dataset.text("namespace"), dataset.text("name")
    version = dataset.facet("version").text("datasetVersion", "")
    digest = digest_json({"openlineage": {"namespace": namespace, "name": named, "version": version}})
    uri = _uri(namespace, named)
    # Of a file of this machine no more than its last name: a fact holds no path of a host.
    name = f"{place.ion}/{snake_case(named if uri else named.rpartition('/')[2])}"
    values = list(_values(dataset, f"{role} {name}"))
    rows = next((value for series, value in values if series.endswith(" rows")), None)
    fields = Facets.each(dataset.facet("schema").fields, "fields")
    facts: list[Fact] = [
        DatasetRecorded(
            run=run,
            name=name,
            role=role,
            digest=digest,
            uri=uri,
            rows=ROWS_UNKNOWN if rows is None else int(rows),
            schema=[{"name": field.text("name"), "type": field.text("type", "")} for field in fields],
            classification=place.classification,
        )
    ]
    assertions = Facets.each(dataset.facet("dataQualityAssertions").fields, "assertions")
    facts += [_check(assertion, run, name, digest) for assertion in assertions]
    return [Telling(fact, _identity(fact, run)) for fact in facts], values


def _check(assertion: Facets, run: str, asset: str, digest: str) -> CheckEvaluated:
    about, column = assertion.text("assertion"), assertion.text("column", "")
    name = assertion.text("name", "") or (f"{about}({column})" if column else about)
    result = assertion.texts("assertion", "column")
    for name_of, text in assertion.texts("expected", "actual").items():  # a number; anything else may be of a row
        result |= {name_of: text} if _NUMBER.match(str(text)) else {}
    return CheckEvaluated(
        run=run,
        asset=asset,
        name=name,
        dataset=digest,
        passed=assertion.fields.get("success") is True,
        severity="WARN" if assertion.text("severity", "").lower().startswith("warn") else "ERROR",
        results=[result],
    )


def _values(dataset: Facets, name: str) -> Iterator[tuple[str, float]]:
    for facet in ("inputStatistics", "outputStatistics", "dataQualityMetrics"):
        for field, series in _COUNTS.items():
            if (value := number(dataset.facet(facet).fields.get(field))) is not None:
                yield f"{name} {series}", value
    columns = Facets.of(dataset.facet("dataQualityMetrics").fields, "columnMetrics").fields
    for column in columns:
        for field, series in _OF_COLUMN.items():
            if (value := number(Facets.of(columns, column).fields.get(field))) is not None:
                yield f"{name} {Text(column).cut(100)} {series}", value


def _identity(fact: Fact, run: str) -> str:
    """Return an id by what the fact says: an event that knows more tells a fact more."""
    return observed_id("openlineage dataset", run, type(fact).__name__, digest_json(asdict(fact)))


def _uri(namespace: str, name: str) -> str:
    """Return OpenLineage's address of a dataset without a password; empty where it is a path on one machine."""
    try:
        parts = urlsplit(namespace)
        host, secret = parts.hostname, parts.password
    except ValueError:
        return ""
    if namespace.startswith("/") or parts.scheme == "file" or namespace == "file" or (parts.scheme and not host):
        return ""
    if not parts.scheme:
        return f"{namespace}/{name.lstrip('/')}"
    place = parts.netloc.rpartition("@")[2] if secret is not None else parts.netloc
    return f"{parts.scheme}://{place}{parts.path}/{name.lstrip('/')}"
