"""Where a benchmark runs: a temporary state root of its own, removed at the end, and nothing left running."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parents[1]
FLINK_PYTHON = PROJECT / ".venv-flink" / "bin" / "python"
PEERS_PYTHON = PROJECT / ".venv-bench" / "bin" / "python"


@contextmanager
def temporary_home() -> Iterator[Home]:
    """Make a state root, let this process and its children use it, and remove it at exit."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(2))  # so that what was started is ended
    root = Path(tempfile.mkdtemp(prefix="ion-bench-"))
    home = Home(root).make()
    os.environ.pop("ION_STORE_URL", None)
    os.environ.pop("ION_DECISION_KEY", None)
    os.environ["ION_HOME"] = str(root)
    # At the very end: agents of this process write their last facts when it exits, after what is here.
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    yield home


def say(text: str) -> None:
    """Tell a person what is happening; figures go to standard output, this does not."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
