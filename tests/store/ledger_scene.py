"""A store with plain facts, its ledger key and checkpoints; and an intruder who may write its database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ion.audit import Audit, verify
from ion.audit.checkpoints import Checkpoints
from ion.evidence import founded_trust
from ion.facts import ParamRecorded
from ion.home import Home
from ion.ledger import GENESIS, link
from ion.store import open_store
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ion.ledger import SignedCheckpoint
    from ion.store import GovernanceStore


@dataclass
class Ledger:
    """A home with a store in it; facts are of the agent ``agent-1``, numbered from 0."""

    home: Home
    store: GovernanceStore
    told: int = 0

    @classmethod
    def make(cls, root: Path, store_url: str = "") -> Ledger:
        home = Home(root).make()
        founded_trust(home)
        return cls(home, open_store(store_url or f"sqlite:///{root / 'store.db'}"))

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints.open(self.store, self.home)

    def tell(self, count: int, name: str = "n") -> None:
        """Append facts of the agent."""
        numbers = range(self.told, self.told + count)
        self.store.append([written(ParamRecorded(run="r", name=name, value=seq), seq) for seq in numbers])
        self.told += count

    def sign(self) -> SignedCheckpoint:
        """Make a checkpoint now."""
        made = self.checkpoints.make()
        assert made is not None
        return made

    def audit(self, against: Mapping[str, bytes] | None = None) -> Audit:
        return verify(self.store, self.home, against)

    def found(self, against: Mapping[str, bytes] | None = None) -> list[tuple[str, int]]:
        """Kinds and positions of what an audit finds, in order."""
        return [(problem.kind, problem.position) for problem in self.audit(against).problems]

    # The intruder: whoever may write the database, and knows how it is made.

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.home.root / "store.db")) as connection, connection:
            assert connection.execute(statement, values).rowcount, "the statement planted nothing"

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the table of facts."""
        with closing(sqlite3.connect(self.home.root / "store.db")) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM ion_fact ORDER BY position")]

    def write_rows(self, rows: list[dict[str, Any]], *, relink: bool = False, head: bool = True) -> None:
        """Replace the table of facts by these rows, numbered anew, without its rule of unique numbers.

        ``relink``: with links computed anew. ``head``: with the recorded head moved to the last row.
        """
        previous = GENESIS
        with closing(sqlite3.connect(self.home.root / "store.db")) as connection, connection:
            connection.execute("ALTER TABLE ion_fact RENAME TO old_fact")
            names = [row[1] for row in connection.execute("PRAGMA table_info(old_fact)")]
            connection.execute("DROP TABLE old_fact")
            connection.execute(f"CREATE TABLE ion_fact ({', '.join(names)})")
            for position, row in enumerate(rows, 1):
                previous = link(previous, row["raw"]) if relink else row["link"]
                values = {**row, "position": position, "link": previous}
                marks = ", ".join("?" * len(names))
                connection.execute(f"INSERT INTO ion_fact VALUES ({marks})", [values[name] for name in names])  # noqa: S608 - names of columns
            if head:
                connection.execute("UPDATE ion_head SET position = ?, link = ?", (len(rows), previous))

    def rewrite(self, change: Callable[[list[dict[str, Any]]], object], *, relink: bool, head: bool = True) -> None:
        """Change the rows as a list, and write them back."""
        rows = self.rows()
        change(rows)
        self.write_rows(rows, relink=relink, head=head)

    def close(self) -> None:
        self.store.close()
