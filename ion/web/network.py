"""An ION as a drawing: nodes in layers from left to right, edges as curves. Plain numbers, no markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.graph import Definition

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 176, 64, 104, 36, 28


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """A box; ``note`` is its second line."""

    name: str
    kind: str
    note: str
    x: int
    y: int
    width: int = _WIDTH
    height: int = _HEIGHT


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """A curve (SVG path data) and its label."""

    message: str
    path: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole, in pixels."""

    width: int
    height: int
    nodes: tuple[DrawnNode, ...]
    edges: tuple[DrawnEdge, ...]


def draw(definition: Definition) -> Drawing:
    """Lay out a definition. Edges that close a cycle run back underneath."""
    layers = _layers([node.name for node in definition.nodes], [(e.sender, e.receiver) for e in definition.edges])
    rows: dict[int, int] = {}
    places: dict[str, DrawnNode] = {}
    for node in definition.nodes:
        layer = layers[node.name]
        row = rows.get(layer, 0)
        rows[layer] = row + 1
        note = str(
            node.details.get("policy_set")
            or node.details.get("mode")
            or ", ".join(map(str, _list(node.details.get("components"))))
        )
        note = note.rpartition(":")[2]
        places[node.name] = DrawnNode(
            node.name,
            node.kind,
            note if len(note) <= 26 else note[:25] + "…",  # noqa: PLR2004 - what fits
            _MARGIN + layer * (_WIDTH + _GAP_X),
            _MARGIN + row * (_HEIGHT + _GAP_Y),
        )
    tallest = max(rows.values(), default=1)
    height = 2 * _MARGIN + tallest * _HEIGHT + (tallest - 1) * _GAP_Y
    edges = tuple(_curve(places[edge.sender], places[edge.receiver], edge.message, height) for edge in definition.edges)
    back = any(places[e.sender].x >= places[e.receiver].x for e in definition.edges)
    width = 2 * _MARGIN + max(layers.values(), default=0) * (_WIDTH + _GAP_X) + _WIDTH
    return Drawing(width, height + (_GAP_Y + _MARGIN if back else 0), tuple(places.values()), edges)


def _layers(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return for each node its distance from the sources; an edge back into the path is left out."""
    layers = dict.fromkeys(names, 0)
    forward: set[tuple[str, str]] = set()
    for edge in edges:
        if not _reaches(forward, edge[1], edge[0]):
            forward.add(edge)
    for _ in names:
        for sender, receiver in forward:
            layers[receiver] = max(layers[receiver], layers[sender] + 1)
    return layers


def _reaches(edges: set[tuple[str, str]], start: str, goal: str) -> bool:
    seen, waiting = set[str](), [start]
    while waiting:
        here = waiting.pop()
        if here == goal:
            return True
        if here not in seen:
            seen.add(here)
            waiting += [receiver for sender, receiver in edges if sender == here]
    return False


def _curve(sender: DrawnNode, receiver: DrawnNode, message: str, below: int) -> DrawnEdge:
    x1, y1 = sender.x + _WIDTH, sender.y + _HEIGHT // 2
    x2, y2 = receiver.x - 6, receiver.y + _HEIGHT // 2
    if receiver.x > sender.x:
        middle = (x1 + x2) // 2
        return DrawnEdge(message, f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}", middle, (y1 + y2) // 2 - 7)
    x1, y1 = sender.x + _WIDTH // 2, sender.y + _HEIGHT
    x2, y2 = receiver.x + _WIDTH // 2, receiver.y + _HEIGHT + 6
    return DrawnEdge(
        message,
        f"M{x1},{y1} C{x1},{below + _GAP_Y} {x2},{below + _GAP_Y} {x2},{y2}",
        (x1 + x2) // 2,
        below + _GAP_Y // 2,
    )


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
