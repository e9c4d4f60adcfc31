"""Model governance for production machine learning, native to Dagster.

A program tells what it does while it does it::

    import ion

    with ion.node_run("readmission/score", kind="custom") as run:
        run.param("threshold", 0.5)
        run.stat("auc", 0.91)

Everything told is a fact: spooled to a local file at once, shipped to the governance store when
that can be reached, never lost silently. In Dagster, the decorators of `ion.dagster` do this around
ordinary assets; `ion.serving` admits only approved models; the ``ion`` command answers questions.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from ion.agent.categories import Categories
from ion.agent.client import Client
from ion.agent.dataset import DatasetVersion
from ion.agent.histogram import Histogram
from ion.agent.logs import LogHandler
from ion.agent.model import Model
from ion.agent.opening import open_client, shared_client
from ion.agent.run import NodeRun
from ion.agent.sketch import Sketch
from ion.errors import IonError
from ion.home import Home
from ion.reading import events, gaps, models, stats
from ion.reading import facts as read_facts
from ion.serving.scorer import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

__version__ = "0.1.0"
__all__ = [
    "Categories",
    "Client",
    "DatasetVersion",
    "Histogram",
    "IonError",
    "LogHandler",
    "Model",
    "NodeRun",
    "Scorer",
    "Sketch",
    "events",
    "gaps",
    "models",
    "node_run",
    "open_client",
    "stats",
]


class _Facts(ModuleType):
    """`ion.facts` is the module of the facts; called, it reads them: `ion.reading.facts`."""

    __call__ = staticmethod(read_facts)


sys.modules["ion.facts"].__class__ = _Facts


def node_run(node: str, *, kind: str = "custom", config: Mapping[str, object] | None = None) -> NodeRun:
    """Start a run of ``ion/node`` with this process's own agent; use it in a ``with`` block.

    Raises:
        IonError: ``bad-node``, ``home-unusable``, ``extra-missing``.
    """
    return shared_client(Home.find()).node_run(node, kind=kind, config=config)
