"""The one chain of revisions, for SQLite and PostgreSQL alike; Alembic runs them, by `ion.store.migrating`.

A revision is named by the number of the format it brings: revision ``2`` makes a ``dagster-ion/2``. A change of the
tables is a new file in ``versions``, never an edit of an old one, and the next `ion.store.connection.FORMAT`.
"""
