"""The ledger's Merkle tree in the store: tiles of 256 hashes (c2sp.org/tlog-tiles), and the records behind the last.

Tiles follow from the records and may be dropped at any time; an audit does not read them. They are written when a
checkpoint is made, never by an append.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from ion.ledger.merkle import HASH_SIZE, consistency_proof, inclusion_proof, leaf_hash, node_hash, root_of
from ion.store import schema
from ion.store.connection import writing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Engine

_WIDTH_BITS = 8
_WIDTH = 1 << _WIDTH_BITS
_TILES_AT_ONCE = 64
"""Complete tiles written in one transaction: appends wait for half a megabyte, not for a whole ledger."""


class StoredTree:
    """The tree as it is now; hashes once read are kept, so use one for one question.

    Is a `ion.ledger.merkle.Nodes`: what no tile holds is computed from the records.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[tuple[int, int], list[bytes]] = {}

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree.

        Raises:
            ValueError: the store does not hold all of its records.
        """
        tile_level, height = divmod(level, _WIDTH_BITS)
        tile, offset = divmod(index << height, _WIDTH)
        hashes = self._tile(tile_level, tile)[offset : offset + (1 << height)]
        if len(hashes) < 1 << height:
            message = f"the store does not hold the records under node {index} of level {level}"
            raise ValueError(message)
        return _reduced(hashes)

    def root(self, size: int) -> bytes:
        """Return the root of the first ``size`` records."""
        return root_of(self, size)

    def inclusion(self, position: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that record ``position`` (from 1) is among the first ``size``."""
        return tuple(inclusion_proof(self, position - 1, size))

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return the proof that the first ``new`` records begin with the first ``old``."""
        return tuple(consistency_proof(self, old, new))

    def write(self, size: int) -> None:
        """Keep the tiles of the first ``size`` records; what is there already stays."""
        level, hashes = 0, size
        while hashes:
            self._write_level(level, hashes if level else hashes - hashes % _WIDTH)
            level, hashes = level + 1, hashes // _WIDTH

    def drop(self) -> None:
        """Forget every tile."""
        self._kept.clear()
        with writing(self._engine) as connection:
            connection.execute(delete(schema.tile))

    def _write_level(self, level: int, hashes: int) -> None:
        """Keep the first ``hashes`` hashes of a level; its last tile may be partial, but not that of the leaves."""
        table = schema.tile
        with self._engine.connect() as connection:
            newest = connection.execute(select(func.max(table.c.index)).where(table.c.level == level)).scalar()
        first = 0 if newest is None else newest  # it may have been partial
        last = -(-hashes // _WIDTH)
        for start in range(first, last, _TILES_AT_ONCE):
            numbers = range(start, min(start + _TILES_AT_ONCE, last))
            made = {number: b"".join(self._tile(level, number)[: hashes - number * _WIDTH]) for number in numbers}
            with writing(self._engine) as connection:
                query = select(table.c.index, func.length(table.c.hashes)).where(
                    table.c.level == level, table.c.index.between(numbers[0], numbers[-1])
                )
                there = {row[0]: row[1] for row in connection.execute(query)}
                rows = [{"level": level, "index": n, "hashes": data} for n, data in made.items() if n not in there]
                if rows:
                    connection.execute(insert(table), rows)
                for number, length in there.items():
                    if length < len(made[number]):
                        place = (table.c.level == level) & (table.c.index == number)
                        connection.execute(update(table).where(place).values(hashes=made[number]))
            if level == 0:  # a large ledger's leaves are not kept in memory
                for number in numbers:
                    del self._kept[level, number]

    def _tile(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile: all there are of them by now."""
        hashes = self._kept.get((level, index))
        if hashes is None:
            hashes = self._stored(level, index)
            if level == 0 and len(hashes) < _WIDTH:
                hashes = [leaf_hash(raw) for raw in self._raws(index)]
            while level and len(hashes) < _WIDTH:
                below = self._tile(level - 1, index * _WIDTH + len(hashes))
                if len(below) < _WIDTH:
                    break
                hashes.append(_reduced(below))
            self._kept[level, index] = hashes
        return hashes

    def _stored(self, level: int, index: int) -> list[bytes]:
        table = schema.tile
        query = select(table.c.hashes).where(table.c.level == level, table.c.index == index)
        with self._engine.connect() as connection:
            data = connection.execute(query).scalar() or b""
        return [data[at : at + HASH_SIZE] for at in range(0, len(data) - HASH_SIZE + 1, HASH_SIZE)][:_WIDTH]

    def _raws(self, tile: int) -> Iterable[bytes]:
        """Return the records under a tile of leaves, as far as they are there without a hole."""
        first = tile * _WIDTH + 1
        columns = (schema.fact.c.position, schema.fact.c.raw)
        query = select(*columns).where(columns[0].between(first, first + _WIDTH - 1)).order_by(columns[0])
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [bytes(row.raw) for expected, row in enumerate(rows, first) if row.position == expected]


def _reduced(hashes: list[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]
