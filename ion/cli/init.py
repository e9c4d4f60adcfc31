"""``ion init``: a project of this shape."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ion import __version__
from ion.cli.answering import console, json_option, print_json
from ion.errors import IonError

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("gov_assets", "sensors", "policies", "resources", "requirements")
FILES = ("workspace.yaml", "dagster.yaml")
_MAKEFILE = """\
# Streaming jobs run in Flink's own environment, with the core of dagster-ion in it.
# Another source of dagster-ion: make setup ION=path/to/dagster_ion.whl
ION ?= dagster-ion=={version}

setup: .venv-flink/.ready

.venv-flink/.ready: requirements/flink.txt
\tpython3 -m venv .venv-flink
\t.venv-flink/bin/pip install --quiet --require-hashes --requirement requirements/flink.txt
\t.venv-flink/bin/pip install --quiet --no-deps "$(ION)"
\ttouch $@

.PHONY: setup
"""
_IGNORED = "# state of a deployment: keys, facts, artifacts\n.ion/\n\n.venv*/\n__pycache__/\n"


@click.command(name="init")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, *, as_json: bool) -> None:
    """Write the reference project into FOLDER, a new or empty one, to be edited.

    Your IONs go into gov_assets/, one folder each; policies/ says what you ask of a model,
    sensors/ and resources/ what runs and with which engines.

    Example: ion init my_project
    """
    source = _scaffold()
    written = list(_copy(source, folder))
    if as_json:
        print_json({"folder": str(folder), "files": written})
        return
    out = console()
    out.print(f"{len(written)} files written to {folder}", style="green")
    out.print(f"  cd {folder}\n  git init && git add . && git commit   # a policy asks for committed source")
    out.print("  make setup                             # only for streaming: Flink's environment")
    out.print("  ion doctor                             # what this machine has and lacks\n  ion up")


def _scaffold() -> Path:
    """Return the reference project: in the wheel, or the checkout that `ion` is installed from.

    Raises:
        IonError: ``no-scaffold``.
    """
    package = Path(str(resources.files("ion")))
    for folder in (package / "scaffold", package.parent):
        if all((folder / name).exists() for name in (*FOLDERS, *FILES)):
            return folder
    hint = "install dagster-ion from its wheel, or with `pip install -e` from a checkout"
    raise IonError("no-scaffold", "this installation holds no reference project", hint)


def _copy(source: Path, folder: Path) -> Iterator[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise IonError("not-empty", f"{folder} is not empty; nothing was written", "name a new folder")
        for path in _files(source):
            relative = path.relative_to(source)
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            yield relative.as_posix()
        for name, text in (("Makefile", _MAKEFILE.format(version=__version__)), (".gitignore", _IGNORED)):
            (folder / name).write_text(text)
            yield name
    except OSError as error:
        raise IonError("cannot-write", f"cannot write to {folder}: {error.strerror}") from error


def _files(source: Path) -> Iterator[Path]:
    for name in FOLDERS:
        for path in sorted((source / name).rglob("*")):
            left_behind = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(source).parts)
            if path.is_file() and not left_behind:
                yield path
    yield from (source / name for name in FILES)
