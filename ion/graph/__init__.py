"""The graph of nodes and messages: its definition, and the answers that fold out of the facts.

`explain` answers why one prediction came out as it did, `timeline` what happened in an ION,
`catalogue` which models there are, `predictions` which ids to ask about.
"""

from ion.graph.addressing import find_model, find_prediction
from ion.graph.catalogue import Entry, Use, catalogue
from ion.graph.definition import Definition, Edge, Node, assignments, define, defined, definition_schema
from ion.graph.inquiry import Hole
from ion.graph.lineage import Explanation, explain
from ion.graph.predicted import PredictionEntry, predictions
from ion.graph.timeline import Event, timeline

__all__ = [
    "Definition",
    "Edge",
    "Entry",
    "Event",
    "Explanation",
    "Hole",
    "Node",
    "PredictionEntry",
    "Use",
    "assignments",
    "catalogue",
    "define",
    "defined",
    "definition_schema",
    "explain",
    "find_model",
    "find_prediction",
    "predictions",
    "timeline",
]
