"""Agents sit by an engine: they take facts up, and work when nothing else does."""

from ion.agent.client import Client
from ion.agent.dataset import DatasetVersion, dataset_digest, read_parquet
from ion.agent.hands import ship_hands, ship_home
from ion.agent.histogram import Histogram
from ion.agent.model import Model
from ion.agent.opening import open_client
from ion.agent.run import NodeRun
from ion.agent.shipping import ship_agent, ship_all

__all__ = [
    "Client",
    "DatasetVersion",
    "Histogram",
    "Model",
    "NodeRun",
    "dataset_digest",
    "open_client",
    "read_parquet",
    "ship_agent",
    "ship_all",
    "ship_hands",
    "ship_home",
]
