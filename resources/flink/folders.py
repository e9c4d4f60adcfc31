"""Where one streaming node keeps its files: ``<home>/flink/<ion>/<node>/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.ids import checked_node

if TYPE_CHECKING:
    from pathlib import Path

    from ion.home import Home


@dataclass(frozen=True, slots=True)
class Folders:
    """The files of one streaming node under a state root. Nothing is made until `make`."""

    root: Path

    @classmethod
    def of(cls, home: Home, node: str) -> Folders:
        """Return the folders of ``ion/node``.

        Raises:
            IonError: ``bad-node``.
        """
        return cls(home.root.resolve().joinpath("flink", *checked_node(node).split("/")))

    @property
    def inbox(self) -> Path:
        """CSV files of patients, one per line, no header; they appear by atomic rename and stay."""
        return self.root / "inbox"

    @property
    def predictions(self) -> Path:
        """Committed part files (and, as dot-files, what is not committed yet), in hourly folders."""
        return self.root / "predictions"

    @property
    def quarantine(self) -> Path:
        """As `predictions`, for rows that could not be scored: positions and reasons, not the rows."""
        return self.root / "quarantine"

    @property
    def checkpoints(self) -> Path:
        """Flink's ``<job id>/chk-<n>``."""
        return self.root / "checkpoints"

    @property
    def savepoints(self) -> Path:
        """What graceful stops leave to start from."""
        return self.root / "savepoints"

    @property
    def logs(self) -> Path:
        """Flink's logs and the job's own output."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by the running job."""
        return self.root / "lock"

    @property
    def status(self) -> Path:
        """The job's heartbeat, see `resources.flink.status`."""
        return self.root / "status.json"

    @property
    def journal(self) -> Path:
        """What the job has told, see `resources.flink.journal`."""
        return self.root / "journal.jsonl"

    @property
    def gate_state(self) -> Path:
        """The highest serial accepted."""
        return self.root / "gate.json"

    @property
    def bins(self) -> Path:
        """Histogram bins by model, see `resources.flink.bins`."""
        return self.root / "bins"

    def make(self) -> Folders:
        """Make the folders, for the owner only: they hold rows of people. Return self."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (
            self.inbox,
            self.predictions,
            self.quarantine,
            self.checkpoints,
            self.savepoints,
            self.logs,
            self.bins,
        ):
            folder.mkdir(mode=0o700, exist_ok=True)
        return self
