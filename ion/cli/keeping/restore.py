"""``ion store restore``: a store from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from ion.cli.answering import console, json_option, print_json, shown
from ion.home import Home


@click.command(name="restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@json_option
def command(file: Path, *, as_json: bool) -> None:
    """Make an empty store what it was when the backup FILE was made.

    The file is checked against its digest, and its facts against their chain, first. Run `ion audit verify`
    afterwards: with a checkpoint from elsewhere it notices when the backup is older than what was recorded last.

    Example: ion store restore /mnt/backups/2027-01-31.ion
    """
    from ion.store.restoring import restore

    home = Home.find()
    home.make()
    done = restore(home.store_url, file)
    if as_json:
        print_json({"file": str(file), **done.as_dict()})
    else:
        out = console()
        out.print(shown(f"{done.position} facts of {done.store} are back"))
        out.print(f"  head {done.link}")
        out.print("  `ion audit verify` says whether anything is missing that was signed later")
