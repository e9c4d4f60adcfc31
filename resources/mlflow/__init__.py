"""MLflow: one tracked run per training run, and its registry as a mirror, which is watched; runs as facts.

The registry shows what the governance store decided and decides nothing: its aliases have no author and no lock.
"""

from resources.mlflow.mirroring import Mirrored, autolog, mirror_run, tell_run
from resources.mlflow.registry import alias_version, look_at, mirror, set_alias
from resources.mlflow.tracking import MlflowTracking, TrackedRun

__all__ = [
    "Mirrored",
    "MlflowTracking",
    "TrackedRun",
    "alias_version",
    "autolog",
    "look_at",
    "mirror",
    "mirror_run",
    "set_alias",
    "tell_run",
]
