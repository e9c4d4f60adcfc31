"""Run this checkout's own uv with the package index that pip is configured to use on this machine.

uv does not read pip's configuration. This hands it over at run time, through the environment of one process, so that
no address is ever written into a file of the project. Whatever `UV_*` variable is already set wins.

    python requirements/run_uv.py pip sync --require-hashes requirements/main.txt
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

UV = Path(__file__).resolve().parent.parent / ".uv" / "bin" / "uv"
# Later wins, as in pip: a file's [global], then its [install], then PIP_* variables.
SECTIONS = ("global", "install", ":env:")


def pip_configuration() -> dict[str, str]:
    """Return pip's effective options for `pip install`, by option name; empty where pip has none."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options: dict[str, str] = {}
    for section in SECTIONS:
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                options[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return options


def uv_environment(pip: dict[str, str], *, locking: bool) -> dict[str, str]:
    """Translate pip's options into uv's variables; when locking, leave out the indexes beside the main one.

    An extra index may hold only one platform's files of a version, and a lock made from it only their hashes.
    """
    found: dict[str, str] = {}
    if "index-url" in pip:
        found["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "cert" in pip:
        found["SSL_CERT_FILE"] = pip["cert"]
    if "trusted-host" in pip:
        found["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    if "find-links" in pip and not locking:
        found["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "extra-index-url" in pip and not locking:
        found["UV_INDEX"] = " ".join(pip["extra-index-url"].split())
        # pip looks in every index; uv would stop at the first that knows the name. Hashes decide what is accepted.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if name not in os.environ}


def main() -> None:
    """Become uv, with this machine's index."""
    arguments = sys.argv[1:]
    environment = uv_environment(pip_configuration(), locking=arguments[:2] == ["pip", "compile"])
    # The interpreter is chosen by the Makefile; uv must neither fetch one nor read a configuration file of its own.
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "UV_NO_PROGRESS": "1"}
    os.execve(UV, [str(UV), *arguments], {**os.environ, **environment})  # noqa: S606  the path is ours, no shell


if __name__ == "__main__":
    main()
