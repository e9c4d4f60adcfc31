"""How one streaming job runs: given on the command line, recorded as the node run's configuration."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.home import Home
from ion.ids import checked_node
from resources.flink.folders import Folders

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Settings of one job; every field but ``home`` and ``node`` is also a command-line option.

    Args:
        home: the state root.
        node: ``ion/node`` that this job serves.
        parallelism: subtasks; a file's rows stay in order within one of them.
        checkpoint_ms: output is committed, and facts follow, once per checkpoint.
        monitor_ms: how often the inbox is listed.
        bundle_ms: how long rows may wait to be handed to Python together.
        poll_ms: how often the pointer is looked at.
        window_s: statistics and signatures are told once per window.
        capture_share: share (0 to 1) of the blocks of inputs that are captured.
        signature_rows: at most so many rows per file are counted into input signatures.
        subject: what the first field of each row names, a person (e.g. ``patient``); empty where rows
            begin with the first feature.
    """

    home: str
    node: str
    parallelism: int = 1
    checkpoint_ms: int = 1000
    monitor_ms: int = 100
    bundle_ms: int = 20
    poll_ms: int = 50
    window_s: float = 15.0
    capture_share: float = 1.0
    signature_rows: int = 50
    subject: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            IonError: ``bad-node`` or ``bad-setting``.
        """
        checked_node(self.node)
        for name in ("parallelism", "checkpoint_ms", "monitor_ms", "bundle_ms", "poll_ms", "window_s"):
            if not getattr(self, name) > 0:
                raise IonError("bad-setting", f"{name} must be positive, not {getattr(self, name)}")
        if not 0.0 <= self.capture_share <= 1.0 or self.signature_rows < 0:
            raise IonError("bad-setting", "capture_share is from 0 to 1, signature_rows not negative")

    @property
    def folders(self) -> Folders:
        """The node's files."""
        return Folders.of(Home(Path(self.home)), self.node)

    def config(self) -> dict[str, object]:
        """Return what the node run records: all but the place on this host."""
        return {name: value for name, value in asdict(self).items() if name != "home"}

    def arguments(self) -> list[str]:
        """Return the command line that `parse` reads back."""
        return [part for name, value in asdict(self).items() for part in (f"--{name.replace('_', '-')}", str(value))]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> JobSettings:
        """Parse a command line; wrong use exits with 2, as `argparse` does.

        Raises:
            IonError: ``bad-node`` or ``bad-setting``.
        """
        parser = argparse.ArgumentParser(prog="resources.flink.job", description="Serve one streaming node.")
        kinds = {"str": str, "int": int, "float": float}
        for item in fields(cls):
            option = f"--{item.name.replace('_', '-')}"
            if item.name in {"home", "node"}:
                parser.add_argument(option, required=True)
            else:
                parser.add_argument(option, type=kinds[str(item.type)], default=item.default)
        return cls(**vars(parser.parse_args(arguments)))
