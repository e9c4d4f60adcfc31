"""The governance page: what is served, why it may be, and where every prediction came from.

Server-rendered, read-only, without a script. `governance_app` is mounted at ``/ion`` beside Dagster's
page under `ion up`; `standalone_app` is what `ion web` serves.
"""

from ion.web.app import governance_app, standalone_app
from ion.web.links import Links

__all__ = ["Links", "governance_app", "standalone_app"]
