"""The ``ion`` command. One module per command, loaded when it is named; `main` is the entry point.

Exit codes: 0 it held, 1 it did not hold (diverged, tampered, rejected, incomplete), 2 usage or environment.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

import click

from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "demo",
    "up",
    "down",
    "why",
    "replay",
    "audit",
    "models",
    "predictions",
    "timeline",
    "pending",
    "approve",
    "reject",
    "evaluate",
    "revoke",
    "halt",
    "evidence",
    "policy",
    "keys",
    "trust",
    "erase",
    "retain",
    "define",
    "store",
    "intake",
    "web",
    "agent",
    "agents",
    "server",
    "tokens",
    "bring",
    "init",
    "doctor",
    "version",
)
"""In the order of the help text; each is `ion.cli.<name>.command`."""

USAGE = 2


class _Commands(click.Group):
    """Finds commands by module, so that asking one thing does not load what answers another."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return [name for name in COMMANDS if find_spec(f"ion.cli.{name}") is not None]

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS or find_spec(f"ion.cli.{name}") is None:
            return None
        found = import_module(f"ion.cli.{name}").command
        assert isinstance(found, click.Command)  # noqa: S101 - what a command module holds
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def ion() -> None:
    """Model governance: who, where, what, when and how, for any prediction.

    State is kept under $ION_HOME, by default .ion in this folder. Every command that answers
    takes --json: one JSON document and nothing else.

    Exit codes: 0 it held, 1 it did not hold, 2 usage or environment.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are printed, never raised."""
    as_json = "--json" in arguments
    try:
        code = ion.main(args=list(arguments), prog_name="ion", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            return _failed(IonError("usage", error.format_message(), "add --help to see how"), as_json=True)
        error.show()  # with its usage line
        return USAGE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the promise about output and exit code holds
        return _failed(_explained(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Run the command line of this process. The project in the working folder can be imported."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds strings
    sys.exit(run(sys.argv[1:]))


def _explained(error: BaseException) -> IonError:
    if isinstance(error, IonError):
        return error
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return IonError("interrupted", "interrupted")
    if os.environ.get("ION_TRACEBACK"):
        traceback.print_exception(error)
    hint = "ION_TRACEBACK=1 shows where it happened"
    return IonError("unexpected", f"{type(error).__name__}: {error}"[:500], hint)


def _failed(error: IonError, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"error": error.as_dict()}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"ion: {error}", err=True)
    return USAGE
