"""What Alembic runs; the connection, already in its transaction, comes from `ion.store.migrating`."""

from __future__ import annotations

from alembic import context

from ion.store import schema

context.configure(connection=context.config.attributes["connection"], version_table=schema.revision.name)
context.run_migrations()  # in the transaction there is: Alembic commits none that it did not begin
