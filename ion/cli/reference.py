"""The reference of all commands as Markdown: ``python -m ion.cli.reference > docs/reference/cli.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ion.cli import ion

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 100


def reference() -> str:
    """Return what every command says under ``--help``, in the order of ``ion --help``."""
    sections = ["# Commands\n\nWhat `ion` and each of its commands say under `--help`."]
    sections += [f"## {path}\n\n```text\n{text}\n```" for path, text in _helps(ion, "ion", None)]
    return "\n\n".join(sections) + "\n"


def _helps(command: click.Command, path: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        info_name=path.rpartition(" ")[2],
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _helps(found, f"{path} {name}", context)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
