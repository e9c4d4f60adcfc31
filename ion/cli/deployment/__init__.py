"""The running deployment: Dagster, MLflow's page and the governance page under one supervisor.

`Deployment` starts, shows and stops it. One process (`supervisor`) owns the services; every process
of the deployment, however it was started, carries the environment variable ``ION_DEPLOYMENT``, so
that none is left behind.
"""

from ion.cli.deployment.deployment import Deployment
from ion.cli.deployment.state import DeploymentState, ServiceState

__all__ = ["Deployment", "DeploymentState", "ServiceState"]
