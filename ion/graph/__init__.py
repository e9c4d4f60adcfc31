"""The graph of nodes and messages: its definition, and the answers that fold out of the facts."""

from ion.graph.definition import Definition, Edge, Node, assignments, define, defined, definition_schema

__all__ = ["Definition", "Edge", "Node", "assignments", "define", "defined", "definition_schema"]
