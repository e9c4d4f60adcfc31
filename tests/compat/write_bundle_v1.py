"""Wrote `bundle-v1` once: ``python -m tests.compat.write_bundle_v1``. It refuses to write over what is there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.store.bundle_scene import approved_by_people, approved_by_policies

FOLDER = Path(__file__).parent / "bundle-v1"


def main() -> None:
    """Write two bundles: of a model that two people approved, and of one that policies approved."""
    FOLDER.mkdir()
    for name, make in (("people", approved_by_people), ("policies", approved_by_policies)):
        with tempfile.TemporaryDirectory() as folder:
            scene = make(Path(folder))
            shutil.copytree(scene.export(), FOLDER / name)
            shutil.copy(scene.deployment.home.root_public, FOLDER / f"{name}.root.pub.pem")
            scene.deployment.close()


if __name__ == "__main__":
    main()
