"""The governor of a deployment: the store, the key, the policies, and Dagster's word on materializations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from ion import __version__
from ion.agent.code import code_state
from ion.clock import now_us
from ion.decision import Governor, load_policy_set
from ion.decision.trust_noted import note_trust
from ion.errors import IonError
from ion.evidence.artifacts import ArtifactStore
from ion.evidence.founding import founded_trust
from ion.evidence.keys import load_signer
from ion.evidence.model_signature import model_signer
from ion.evidence.trust import load_trust, trust_file
from ion.graph import assignments
from ion.serving.measure import measure
from ion.serving.promoting import open_promotions
from ion.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ion.evidence.keys import Signer
    from ion.facts import ModelRecorded, NodeRunStarted
    from ion.home import Home

_LOOK_BACK = 100
_DATA_VERSION = "dagster/data_version"


def decision_signer(home: Home) -> Signer:
    """Return the signer of decisions; keys and trust under the home are made on first use (0600).

    Raises:
        IonError: ``decision-key-lost`` when the deployment trusts a key that is not there any more,
            ``decision-key-differs`` when it trusts another one, and as `ion.evidence.founding.founded_trust`.
    """
    trust = founded_trust(home)
    own = home.keys / "decision.pem"
    if home.decision_key_uri == f"file:{own}" and not own.exists():
        raise IonError(
            "decision-key-lost",
            "the decision key is gone, while this deployment still trusts its public half",
            "restore keys/decision.pem from a backup, or `ion keys rotate decision` with the root key",
        )
    signer = load_signer(home.decision_key_uri)
    if not trust.lets_sign("decision", signer.public, now_us()):
        raise IonError(
            "decision-key-differs",
            "the decision key is none that this deployment trusts now",
            "check ION_DECISION_KEY; `ion trust show` names the trusted keys",
        )
    return signer


def open_governor(home: Home, instance: dg.DagsterInstance | None = None) -> Governor:
    """Return the governor of the deployment at ``home``.

    ``instance`` tells which models Dagster holds a materialization of; by default the instance of
    ``DAGSTER_HOME``.

    Raises:
        IonError: the decision key or the store cannot be used, there is no Dagster instance, or the trust
            document is older than one that was in force (``trust-older``).
    """
    store = open_store(home.make().store_url)
    signer = decision_signer(home)
    note_trust(store, load_trust(home))
    found = instance or _instance()
    return Governor(
        store,
        ArtifactStore(home.artifacts),
        signer,
        measure=measure,
        assignments=lambda node: assignments(store, node),
        policy_set=load_policy_set,
        materialization=lambda model: materialization_of(found, model),
        source_now=_source_now,
        promotions=open_promotions(home, store, signer),
        version=__version__,
        models=model_signer(home),
        trust=trust_file(home),
    )


def materialization_of(instance: dg.DagsterInstance, model: ModelRecorded) -> int | None:
    """Return the storage id of the materialization that Dagster holds of this model, or None."""
    key = dg.AssetKey(model.name.split("/"))
    for record in instance.fetch_materializations(key, limit=_LOOK_BACK).records:
        event = record.asset_materialization
        tags = (event.tags or {}) if event is not None else {}
        # An earlier attempt of the same run may have left another candidate, which Dagster never saw.
        if tags.get("ion/node_run") == model.run and tags.get(_DATA_VERSION, model.model) == model.model:
            return record.storage_id
    return None


def _source_now(started: NodeRunStarted) -> Mapping[str, object]:
    folders = started.code.get("folders", ())
    if not isinstance(folders, list | tuple):
        return {}
    return code_state(Path.cwd(), tuple(str(folder) for folder in folders))


def _instance() -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.get()
    except Exception as error:
        raise IonError(
            "no-dagster",
            "there is no Dagster instance to ask which models were materialized",
            "set DAGSTER_HOME, or run the command where `ion up` runs",
        ) from error
