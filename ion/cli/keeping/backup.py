"""``ion store backup``: the whole record in one file."""

from __future__ import annotations

from pathlib import Path

import click

from ion.cli.answering import console, json_option, print_json, require_state, shown
from ion.home import Home


@click.command(name="backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def command(file: Path, *, as_json: bool) -> None:
    """Write everything that the store records to FILE, as it is at one moment.

    Others work on meanwhile. `ion store restore` makes a store of it again, on SQLite or PostgreSQL. FILE must
    not be there yet; it holds capture keys, so it is for you alone. Spools and artifacts are not in it.

    Example: ion store backup /mnt/backups/2027-01-31.ion
    """
    from ion.store.backup import backup

    home = Home.find()
    require_state(home)
    done = backup(home.store_url, file.resolve())
    if as_json:
        print_json({"file": str(file), **done.as_dict()})
    else:
        out = console()
        out.print(
            shown(f"{done.position} facts of {done.store} and what belongs to them are in {file}"), soft_wrap=True
        )
        out.print(f"  head {done.link}")
