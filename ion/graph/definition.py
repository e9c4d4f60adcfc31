"""The definition of an ION: nodes, edges, datasets and their declared checks; versioned by digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING

from ion.canonical import digest_json
from ion.decision import Assignment, RequiredCheck
from ion.errors import IonError
from ion.facts import IonDefined
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.store import GovernanceStore


def definition_schema() -> dict[str, object]:
    """Return the JSON Schema of a definition (draft 2020-12)."""
    text = resources.files("ion.graph").joinpath("ion-definition.schema.json").read_text("utf-8")
    schema: dict[str, object] = json.loads(text)
    return schema


@dataclass(frozen=True, slots=True)
class Node:
    """A pipeline, a policy, a person or a program; ``details`` by kind (see the JSON Schema)."""

    name: str
    kind: str
    details: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Edge:
    """Messages of one kind from a node to a node. Cycles are allowed."""

    sender: str
    receiver: str
    message: str


@dataclass(frozen=True, slots=True)
class Definition:
    """An ION as declared. Build with `Definition.from_json`; equal JSON, equal version."""

    ion: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    document: Mapping[str, object]

    @property
    def version(self) -> str:
        """The digest of the definition's RFC 8785 form."""
        return digest_json(self.document)

    @classmethod
    def from_json(cls, document: object) -> Definition:
        """Validate against the JSON Schema, then check that names and edges fit together.

        Raises:
            IonError: ``bad-definition`` naming the first offending place.
        """
        import jsonschema

        hint = "docs/reference/ion-definition.schema.json describes the form"
        validator = jsonschema.Draft202012Validator(definition_schema())
        problems = sorted(validator.iter_errors(document), key=lambda problem: list(map(str, problem.path)))
        if problems:
            where = "/".join(str(part) for part in problems[0].path) or "the document"
            raise IonError("bad-definition", f"{where}: {problems[0].message}"[:500], hint)
        assert isinstance(document, Mapping)  # noqa: S101 - the schema says so
        nodes = tuple(
            Node(item["name"], item["kind"], {k: v for k, v in item.items() if k not in {"name", "kind"}})
            for item in document["nodes"]
        )
        names = [node.name for node in nodes]
        if len(set(names)) != len(names):
            raise IonError("bad-definition", f"two nodes of {document['ion']} have the same name", hint)
        edges = tuple(Edge(item["from"], item["to"], item["message"]) for item in document["edges"])
        for edge in edges:
            for end in (edge.sender, edge.receiver):
                if end not in names:
                    raise IonError("bad-definition", f"an edge names {end!r}, which is not a node", hint)
        return cls(str(document["ion"]), nodes, edges, document)

    def node(self, name: str) -> Node:
        """Return a node by name.

        Raises:
            IonError: ``unknown-node``.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise IonError("unknown-node", f"{self.ion} has no node {name!r}", "`ion define ION --json` prints the nodes")

    def receivers(self, name: str, kind: str) -> list[Node]:
        """Return the nodes of a kind that ``name`` sends messages to."""
        reached = [self.node(edge.receiver) for edge in self.edges if edge.sender == name]
        return [node for node in reached if node.kind == kind]

    def assignments(self, trainer: str) -> list[Assignment]:
        """Return who decides the candidates of node ``trainer``, by what, for which serving nodes."""
        return [
            Assignment(
                policy_node=f"{self.ion}/{policy.name}",
                policy_set=str(policy.details["policy_set"]),
                serving_node=f"{self.ion}/{serving.name}",
                on_lease_end=str(serving.details.get("on_lease_end", "stop")),
                required=self.required_checks(),
            )
            for policy in self.receivers(trainer, "policy")
            for serving in self.receivers(policy.name, "inference")
        ]

    def required_checks(self) -> list[RequiredCheck]:
        """Return every check that the ION declares on its datasets."""
        datasets = self.document.get("datasets", [])
        assert isinstance(datasets, list | tuple)  # noqa: S101 - the schema says so
        return [
            RequiredCheck(f"{self.ion}/{item['name']}", str(check))
            for item in datasets
            for check in item.get("checks", [])
        ]


def define(store: GovernanceStore, definition: Definition) -> bool:
    """Record a definition unless it is already the newest of its ION; returns whether it was new."""
    with store.command() as command:
        known = command.find(IonDefined, definition.ion, limit=1, newest_first=True)
        if known and known[0].fact.version == definition.version:
            return False
        command.record(IonDefined(ion=definition.ion, version=definition.version, definition=dict(definition.document)))
    return True


def defined(store: GovernanceStore, ion: str) -> Definition:
    """Return the newest definition of an ION.

    Raises:
        IonError: ``unknown-ion``.
    """
    known = store.latest(IonDefined, ion)
    if known is None:
        raise IonError("unknown-ion", f"no ION named {ion!r} is defined", "`ion define` lists what the code declares")
    return Definition.from_json(known.fact.definition)


def assignments(store: GovernanceStore, node: str) -> list[Assignment]:
    """Return the assignments of the training node ``ion/node``; none when it is not defined."""
    ion, _, name = node.partition("/")
    known = store.latest(IonDefined, ion)
    if known is None:
        return []
    definition = Definition.from_json(known.fact.definition)
    return definition.assignments(name) if name in {n.name for n in definition.nodes} else []
