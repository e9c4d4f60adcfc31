"""CPU time of process groups, from /proc (proc_pid_stat(5)): every process of the group, and what it reaped."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def group_cpu_s(group: int) -> float:
    """Return user and system seconds used so far by the processes of a group, grain 10 ms.

    A child that ended counts through the parent that waited for it, so nothing is counted twice.
    """
    ticks = 0
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is wanted
        if not entry.isdigit():
            continue
        with suppress(OSError):
            # The name in parentheses may hold anything; fields are counted from after it.
            fields = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_S
