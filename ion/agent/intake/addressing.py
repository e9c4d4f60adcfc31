"""Which node a job of another system is: by the rules of ``openlineage.json``, else by its own names."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ion.agent.dataset import checked_classification
from ion.canonical import digest_json
from ion.errors import IonError
from ion.ids import checked_node

if TYPE_CHECKING:
    from pathlib import Path

FILE = "openlineage.json"
"""In the state folder."""

_LONGEST = 100
_FIELDS = frozenset({"namespace", "job", "node", "kind", "classification"})
_EXAMPLE = '{"nodes": [{"namespace": "etl", "job": "daily.*", "node": "patient_tests/features"}]}'


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job belongs: ``ion/node``, the node's kind, and how its datasets are classified."""

    node: str
    kind: str = "custom"
    classification: str = "private"

    @property
    def ion(self) -> str:
        """The ION of the node."""
        return self.node.partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Rule:
    namespace: str
    job: str
    place: Place


@dataclass(frozen=True, slots=True)
class Addressing:
    """Rules in order, the first that matches holds. ``*`` in a rule's node stands for the job's name."""

    rules: tuple[_Rule, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Addressing:
        """Return the rules of ``openlineage.json`` in a state folder; none where there is no such file.

        Raises:
            IonError: ``bad-mapping``.
        """
        try:
            text = (folder / FILE).read_text("utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise IonError("bad-mapping", f"{FILE} cannot be read: {error}"[:300]) from error
        try:
            return cls(tuple(_rule(row) for row in json.loads(text)["nodes"]))
        except (ValueError, KeyError, TypeError, IonError) as error:
            raise IonError("bad-mapping", f"{FILE} cannot be used: {error}"[:300], f"write e.g. {_EXAMPLE}") from error

    def place(self, namespace: str, job: str) -> Place:
        """Return where a job belongs; without a rule ``<namespace>/<job>``, both in snake case."""
        for rule in self.rules:
            if fnmatchcase(namespace, rule.namespace) and fnmatchcase(job, rule.job):
                node = rule.place.node.replace("*", snake_case(job))
                return Place(checked_node(node), rule.place.kind, rule.place.classification)
        return Place(f"{snake_case(namespace)}/{snake_case(job)}")


def snake_case(name: str) -> str:
    """Return a name as the part of an address: ``a-z0-9_``, at most 100; what was cut shows as a digest."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if plain and len(plain) <= _LONGEST:
        return plain
    mark = digest_json(name).removeprefix("sha256:")[:8]
    return f"{plain[: _LONGEST - 9]}_{mark}".lstrip("_")


def _rule(row: dict[str, str]) -> _Rule:
    if set(row) - _FIELDS or not all(isinstance(value, str) for value in row.values()):
        message = f"unknown field in {row}"
        raise ValueError(message)
    checked_node(row["node"].replace("*", "job"))
    classification = checked_classification(row.get("classification", "private"))
    return _Rule(
        row.get("namespace", "*"), row.get("job", "*"), Place(row["node"], row.get("kind", "custom"), classification)
    )
