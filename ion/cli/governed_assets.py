"""Which assets of a project are governed: declared to ion, seen to run at least, or neither."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ion.cli.answering import opened
from ion.cli.project import project_assets
from ion.errors import IonError
from ion.facts import DagsterReported, MaterializationObserved


@dataclass(frozen=True, slots=True)
class AssetState:
    """One asset key (``a/b``) and whether it is ``governed``, ``observed`` or ``ungoverned``."""

    asset: str
    state: str

    def as_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return asdict(self)


def asset_states(module: str) -> list[AssetState]:
    """Return every asset of a code location with its state, by key.

    Raises:
        IonError: as `ion.cli.project.project_assets`.
    """
    assets = project_assets(module)
    seen = _seen()
    return [
        AssetState(asset, "governed" if governed else ("observed" if asset in seen else "ungoverned"))
        for asset, governed in sorted(assets.items())
    ]


def _seen() -> set[str]:
    """Return the assets whose events are in the record; none when there is no record yet."""
    try:
        with opened() as asked:
            observed = {record.fact.asset for record in asked.store.find(MaterializationObserved)}
            return observed | {record.fact.asset for record in asked.store.find(DagsterReported)}
    except IonError as error:
        if error.code != "no-home":
            raise
        return set()
