"""A model that two people approved, and the bundle of its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.canonical import digest_bytes
from ion.decision import PolicySet
from ion.evidence import load_public
from ion.interop.bundle import verify_bundle
from ion.interop.bundle.exporting import export_bundle
from ion.testing import Deployment
from policies import catalog
from policies.people import people

if TYPE_CHECKING:
    from pathlib import Path

    from ion.evidence import PublicKey
    from ion.interop.bundle import Verification
    from ion.testing import Trained

CODE = {
    "git": True,
    "dirty": False,
    "commit": "c0ffee00" * 5,
    "source_digest": digest_bytes(b"source"),
    "lock": digest_bytes(b"lock"),
    "author": "carol",
}
TWO_PEOPLE = PolicySet(
    "two_people",
    (*catalog.clinical_low_risk.policies, people(quorum=2)),
    90,
    catalog.clinical_low_risk.sources,
    "tests",
)


@dataclass
class Scene:
    """A deployment, one of its models, and a folder for bundles."""

    deployment: Deployment
    trained: Trained
    folder: Path

    @property
    def root(self) -> PublicKey:
        """The root key as an outsider was given it."""
        return load_public(self.deployment.home.root_public)

    def export(self, name: str = "bundle", **options: str) -> Path:
        """Export the evidence on the model."""
        target = self.folder / name
        export_bundle(self.deployment.store, self.deployment.home, self.trained.model, target, **options)
        return target

    def verify(self, folder: Path, **options: object) -> Verification:
        """Verify under the root key."""
        return verify_bundle(folder, **{"root": self.root, **options})  # type: ignore[arg-type]


def approved_by_people(folder: Path, store_url: str = "", *, weight: float = 1.0) -> Scene:
    """Train a model, let two people approve it, and promote it."""
    deployment = Deployment.make(folder / "home", store_url)
    keys = [deployment.introduce(person) for person in ("anna", "ben")]
    trained = deployment.train(code=CODE, weight=weight)
    deployment.govern(lambda _: TWO_PEOPLE)
    for key in keys:
        deployment.speak(key, trained.model)
    deployment.govern(lambda _: TWO_PEOPLE)
    return Scene(deployment, trained, folder)


def approved_by_policies(folder: Path, store_url: str = "") -> Scene:
    """Train a model that policies alone approve."""
    deployment = Deployment.make(folder / "home", store_url)
    trained = deployment.train(code=CODE)
    deployment.govern()
    return Scene(deployment, trained, folder)
