"""The code location `governance`: it decides, promotes and observes, and it alone holds the signing key."""

from __future__ import annotations

import dagster as dg

from sensors.deployment import deployment
from sensors.mirror import mlflow_mirror
from sensors.observation import observation
from sensors.promotion import promotion

defs = dg.Definitions(sensors=[promotion, deployment, observation, mlflow_mirror])
