"""The code location `governance`: it decides, promotes and observes, and it alone holds the signing key."""

from __future__ import annotations

import dagster as dg

from ion.dagster.agents import agents_spec
from ion.dagster.checkpoints import checkpoint_spec
from sensors.agents import agents
from sensors.checkpoint import checkpoint
from sensors.compaction import compaction
from sensors.deployment import deployment
from sensors.mirror import mlflow_mirror
from sensors.mirror_watch import mlflow_watch
from sensors.notification import notification
from sensors.observation import observation
from sensors.promotion import promotion
from sensors.review import review

defs = dg.Definitions(
    assets=[agents_spec, checkpoint_spec],
    jobs=[review],
    sensors=[
        promotion,
        deployment,
        observation,
        agents,
        checkpoint,
        compaction,
        mlflow_mirror,
        mlflow_watch,
        notification,
    ],
)
