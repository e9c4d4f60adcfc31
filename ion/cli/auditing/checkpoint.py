"""``ion audit checkpoint``: sign the head now; ``ion audit anchor``: put it where the store's owner cannot reach."""

from __future__ import annotations

from pathlib import Path

import click

from ion.cli.answering import console, json_option, opened, print_json, shown
from ion.errors import IonError
from ion.ledger import NoteKey


@click.command(name="checkpoint")
@json_option
def command(*, as_json: bool) -> None:
    """Sign the ledger's head as it is now, and print the note.

    The sensor does this by itself. When nothing but checkpoints happened since the last one, that one is
    printed. Copy the note to where nobody who may write the store can: it is what the store is held against later.

    Example: ion audit checkpoint
    """
    from ion.audit.checkpoints import Checkpoints

    with opened() as asked:
        checkpoints = Checkpoints.open(asked.store, asked.home)
        made = checkpoints.make()
        signed = made or checkpoints.latest()
    if signed is None:
        raise IonError("no-checkpoint", "the ledger is empty: there is nothing to sign", "record something first")
    note = signed.note.to_bytes().decode()
    if as_json:
        head, key = signed.checkpoint, NoteKey.of(signed.checkpoint.origin, checkpoints.public)
        told = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "new": made is not None}
        print_json({**told, "note": note, "key": str(key)})
    else:
        click.echo(note, nl=False)


@click.command(name="anchor")
@click.option(
    "--git",
    "repository",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A git repository; its HEAD gets the annotated tag ion-checkpoint-SIZE.",
)
@click.option("--sign", is_flag=True, help="Have git sign the tag, too.")
@json_option
def anchor(repository: Path, *, sign: bool, as_json: bool) -> None:
    """Put the newest checkpoint into a git repository, as a tag whose message is the signed note.

    Push the tag, and the ledger can be held against the remote repository: ion audit verify --git.

    Example: ion audit anchor --git .
    """
    from ion.audit.git_anchor import anchor as tag
    from ion.audit.proving import newest_checkpoint

    with opened() as asked:
        signed = newest_checkpoint(asked.store, asked.home)
    name = tag(repository, signed, sign=sign)
    if as_json:
        print_json({"tag": name, "repository": str(repository), "size": signed.size})
    else:
        console().print(f"tag {shown(name)} in {shown(repository)}: push it to keep it elsewhere")
