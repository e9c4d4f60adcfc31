"""A streaming node with a promoted model, made by hand: no Dagster runs while the job's CPU is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.candidates import pretrained
from ion.clock import now_us
from ion.evidence import (
    ArtifactStore,
    DecisionStatement,
    EvidenceReference,
    PromotionStatement,
    founded_trust,
    load_signer,
    sign_statement,
)
from ion.ids import new_id
from ion.serving import pointer_path, write_pointer
from ion.testing import attested
from resources.flink.folders import Folders

if TYPE_CHECKING:
    from ion.home import Home

NODE = "overhead/predictions"
_DAY_US = 86_400_000_000


def prepare_node(home: Home) -> Folders:
    """Make keys, and a signed promotion of a pre-trained model; return the node's folders."""
    founded_trust(home)
    signer = load_signer(home.decision_key_uri)
    artifacts = ArtifactStore(home.artifacts)
    model = artifacts.put_model({"model.json": pretrained(1).scorers[0].to_bytes()}).digest
    now, run = now_us(), new_id()
    ion, _, node = NODE.partition("/")
    decision = DecisionStatement(
        ion=ion,
        node=node,
        model=model,
        candidate_run=run,
        verdict="approve",
        reasons=("measured",),
        policy_uri="policy:bench",
        policy_digest=model,
        evidence=(EvidenceReference("ion:model", model), attested(artifacts, signer, model=model, run=run, at=now)),
        decided=now,
        expires=now + _DAY_US,
        verifier_version="0",
    )
    promotion = PromotionStatement(
        ion=ion,
        node=node,
        action="promote",
        model=model,
        decision=artifacts.put(sign_statement(decision, signer)),
        serial=1,
        cause=new_id(),
        issued=now,
        lease_end=now + _DAY_US,
        on_lease_end="keep",
    )
    write_pointer(pointer_path(home.root, NODE), sign_statement(promotion, signer))
    return Folders.of(home, NODE).make()
