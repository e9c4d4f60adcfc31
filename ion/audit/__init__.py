"""The audit: whether store and folders still hold what was once recorded and signed."""

from ion.audit.verification import Audit, verify

__all__ = ["Audit", "verify"]
