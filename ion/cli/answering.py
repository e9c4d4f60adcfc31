"""What the answering commands share: the store they ask, and the two forms of an answer."""

from __future__ import annotations

import json
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ion.errors import IonError
from ion.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ion.store import GovernanceStore

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store and where its files are."""

    home: Home
    store: GovernanceStore


@contextmanager
def opened() -> Iterator[Opened]:
    """Open the existing store, after carrying waiting spools into it so that the answer is fresh.

    Nothing is made: a question does not start a deployment.

    Raises:
        IonError: ``no-home`` when there is no state, ``home-unusable``, and as `ion.store.open_store`.
    """
    home = Home.find()
    require_state(home)
    from ion.agent.hands import ship_home
    from ion.store import open_store

    store = open_store(home.store_url)
    try:
        try:
            ship_home(home, store)
        except Exception as error:  # noqa: BLE001 - the question can still be answered from what is there
            click.echo(f"ion: facts wait in the spool: {error}", err=True)
        yield Opened(home, store)
    finally:
        store.close()


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console() -> Console:
    """Return the console of human answers. No markup: what facts hold is shown as it is."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def shown(value: object) -> str:
    """Return text that is safe on a terminal: control characters, which could steer it, are replaced."""
    return "".join("�" if unicodedata.category(char) == "Cc" else char for char in str(value))


def short(digest: object) -> str:
    """Return a digest's first twelve digits: enough to type and to tell apart."""
    return shown(digest).removeprefix("sha256:")[:12]


def when(text: object) -> str:
    """Return an RFC 3339 time to the second."""
    return f"{str(text)[:10]} {str(text)[11:19]}" if text else ""


def items(value: object) -> list[object]:
    """Return the members of a JSON list; none of anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def did_not_hold() -> None:
    """End the command with exit code 1."""
    click.get_current_context().exit(1)


def require_state(home: Home) -> None:
    """Raise ``no-home`` or ``home-unusable`` when there is no state to ask about."""
    hint = "run `ion up` or `make demo` first, or set ION_HOME to where the state is"
    if home.root.exists() and not home.root.is_dir():
        raise IonError("home-unusable", f"{home.root} is not a folder", "set ION_HOME to a folder of your own")
    try:
        present = (home.root / "store.db").is_file()
    except OSError as error:
        raise IonError("home-unusable", f"cannot read {home.root}: {error.strerror}", hint) from error
    if home.store_url == f"sqlite:///{home.root / 'store.db'}" and not present:
        raise IonError("no-home", f"there is no governance store in {home.root}", hint)
