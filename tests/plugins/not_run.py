"""Name every test that did not run, and fail over it where nothing may be missing (CI=true).

A test that lacks a tool of the machine (Chromium, strace) skips itself. On a laptop that is worth a list; in the
project's own checks it would be a hole that looks green.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


class NotRun:
    """Collects what was skipped, in the process that reports (under xdist: the controller)."""

    def __init__(self, *, forbidden: bool) -> None:
        self.forbidden = forbidden
        self.reasons: dict[str, str] = {}

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        # An expected failure did run; pytest calls it skipped all the same.
        if report.skipped and not hasattr(report, "wasxfail"):
            where = report.longrepr
            self.reasons[report.nodeid] = str(where[2]) if isinstance(where, tuple) else str(where)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that skipped itself, or was marked to be skipped."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole module that skipped itself."""
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a green session red if it left something out that had to run."""
        if (
            self.forbidden
            and self.reasons
            and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """List what did not run, and why."""
        if not self.reasons:
            return
        terminalreporter.section("not run" + (": not allowed here (CI is set)" if self.forbidden else ""))
        for nodeid, reason in sorted(self.reasons.items()):
            terminalreporter.line(f"{nodeid}: {reason.removeprefix('Skipped: ')}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the collector once, where results are reported."""
    if not hasattr(config, "workerinput"):
        forbidden = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
        config.pluginmanager.register(NotRun(forbidden=forbidden), "ion-not-run")
