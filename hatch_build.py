"""Put the reference project into the wheel, as what `ion init` copies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("gov_assets", "sensors", "policies", "resources", "requirements")
FILES = ("workspace.yaml", "dagster.yaml")


class ScaffoldBuildHook(BuildHookInterface[Any]):
    """Add each scaffold path under `ion/scaffold/`; a missing one fails the build.

    An editable install gets none: there, `ion init` reads the checkout's own folders, and copies would shadow `ion`.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the scaffold before hatchling collects files; `version` is `standard` or `editable`."""
        if version == "editable":
            return
        root = Path(self.root)
        for path in scaffold(root):
            build_data["force_include"][str(path)] = f"ion/scaffold/{path.relative_to(root).as_posix()}"


def scaffold(root: Path) -> Iterator[Path]:
    """Yield every file of the reference project; hatchling would not leave out what an ignored run left behind."""
    for name in FOLDERS:
        if not (root / name / "__init__.py").exists() and name != "requirements":
            message = f"the scaffold folder {name}/ is missing from {root}"
            raise FileNotFoundError(message)
        for path in sorted((root / name).rglob("*")):
            left_behind = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(root).parts)
            if path.is_file() and not left_behind:
                yield path
    # hatchling itself fails on one of these that is missing
    yield from (root / name for name in FILES)
