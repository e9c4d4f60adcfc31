"""The governance store as it is read through a server: the questions of `ion.reading`, with only the core installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from ion.agent.remote import RemoteReceiver
from ion.canonical import canonical_bytes
from ion.errors import IonError
from ion.facts import Fact
from ion.records import Recorded, read_record
from ion.store.answers import Candidate, Current, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ion.points import Points

F = TypeVar("F", bound=Fact)
_FACTS_AT_ONCE, _POINTS_AT_ONCE = 1000, 100_000


class RemoteStore:
    """Reads what `ion.store.GovernanceStore` reads, from the server behind ``receiver``, whose token is a reader's."""

    def __init__(self, receiver: RemoteReceiver) -> None:
        self._receiver = receiver

    @classmethod
    def of(cls, url: str) -> RemoteStore:
        """Return the store behind the server at ``url``.

        Raises:
            IonError: as `RemoteReceiver.of`.
        """
        return cls(RemoteReceiver.of(url))

    @property
    def statistics(self) -> RemoteStore:
        """What `series` belongs to in a store."""
        return self

    def find(self, kind: type[F], subject: str | None = None, *, limit: int | None = None) -> list[Recorded[F]]:
        """Return facts of a kind, about ``subject`` if given, in store order.

        Raises:
            IonError: as `RemoteReceiver.append`.
        """
        query: dict[str, str | int] = {"kind": kind.__name__, "limit": min(limit or _FACTS_AT_ONCE, _FACTS_AT_ONCE)}
        if subject is not None:
            if not subject:
                return []
            query["subject"] = subject
        found: list[Recorded[F]] = []
        for page in self._pages("/v1/facts", query):
            found += [_recorded(row) for row in _rows(page, "facts")]
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def series(self, run: str) -> list[Series]:
        """Return the time series of a run, by name and epoch.

        Raises:
            IonError: as `find`.
        """
        rows = _rows(self._receiver.get("/v1/statistics", run=run), "series")
        names = {"name": "name", "epoch": "epoch", "count": "n", "first": "first", "last": "last"}
        return [_made(Series, {own: row.get(told) for own, told in names.items()}) for row in rows]

    def points(
        self, run: str, series: str, first: int | None = None, last: int | None = None, *, epoch: str | None = None
    ) -> Points:
        """Return points of a run's series from ``first`` to ``last`` (µs, inclusive), by time; of ``epoch`` if given.

        Raises:
            IonError: as `find`.
        """
        import numpy as np

        from ion.points import Points

        query: dict[str, str | int] = {"run": run, "series": series, "limit": _POINTS_AT_ONCE}
        query |= {} if epoch is None else {"epoch": epoch}
        query |= {} if last is None else {"until": min(last, 2**53 - 2) + 1}
        parts, since = [], max(first or 0, 0)
        while True:
            page = self._receiver.get("/v1/statistics", since=since, **query)
            try:
                times, values = np.array(page["times"], np.int64), np.array(page["values"], np.float64)
                following = page["next"]
            except (KeyError, TypeError, ValueError) as error:
                raise _strange("statistics") from error
            parts.append(Points(times, values))
            if not isinstance(following, int) or following <= since:
                return Points.joined(parts)
            since = following

    def candidates(self) -> list[Candidate]:
        """Return all candidates, oldest first.

        Raises:
            IonError: as `find`.
        """
        query: dict[str, str | int] = {"limit": _FACTS_AT_ONCE}
        return [
            _made(Candidate, row) for page in self._pages("/v1/candidates", query) for row in _rows(page, "candidates")
        ]

    def current(self, node: str) -> Current:
        """Return what ``ion/node`` should serve now.

        Raises:
            IonError: as `find`.
        """
        return _made(Current, self._receiver.get(f"/v1/nodes/{quote(node)}/current"))

    def close(self) -> None:
        """Close the connection."""
        self._receiver.close()

    def _pages(self, path: str, query: Mapping[str, str | int]) -> Iterator[Mapping[str, object]]:
        after = 0
        while True:
            page = self._receiver.get(path, after=after, **query)
            yield page
            following = page.get("next")
            if not isinstance(following, int) or following <= after:
                return
            after = following


M = TypeVar("M", Series, Candidate, Current)


def _made(kind: type[M], row: Mapping[str, object]) -> M:
    try:
        return kind(**cast("dict[str, Any]", dict(row)))
    except TypeError as error:
        raise _strange(kind.__name__) from error


def _rows(page: Mapping[str, object], name: str) -> Sequence[Mapping[str, object]]:
    rows = page.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _strange(name)
    return rows


def _recorded(row: Mapping[str, object]) -> Recorded[F]:
    told = dict(row)
    position = told.pop("position", None)
    record = read_record(canonical_bytes(told))
    if not isinstance(position, int):
        raise _strange("facts")
    return Recorded(position, record.id, record.agent, record.stamp.us, cast("F", record.fact))


def _strange(what: str) -> IonError:
    return IonError("receiver-refused", f"the server's answer about {what} is of another form", "compare versions")
