"""The server: agents report to it over HTTP, and programs ask it, with tokens that say what each may.

`server_app` is what `ion server` serves. Every route is an `Endpoint`, whose role, parameters and
description are one table: what is enforced is also what ``/openapi.json`` says.
"""

from ion.server.access import Caller
from ion.server.app import server_app
from ion.server.bounds import Bounds
from ion.server.endpoint import Asked, Endpoint, Parameter
from ion.server.tokens import Role

__all__ = ["Asked", "Bounds", "Caller", "Endpoint", "Parameter", "Role", "server_app"]
